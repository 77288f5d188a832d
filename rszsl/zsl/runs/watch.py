"""How well a training does on classes that it never sees, after every epoch."""

from collections.abc import Callable
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import EarlyStopping
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from rszsl.errors import TrainingError
from rszsl.model.heads import normal, reported
from rszsl.zsl.dsva.module import DsvaModule
from rszsl.zsl.metrics import per_class_accuracy

OUTPUTS = ("global", "local", "both")
MONITOR = "validation"

Floats = NDArray[np.float32]
Batches = DataLoader[tuple[Tensor, Tensor]]


@torch.inference_mode()
def attributes_of(module: DsvaModule, loader: Batches) -> dict[str, Floats]:
    """Score images by each output of the heads: float32 (n, K), unit length."""
    was_training = module.training
    module.eval()
    parts: dict[str, list[Floats]] = {output: [] for output in OUTPUTS}
    for x, _truth in loader:
        out = module(x.to(module.device))
        for output in OUTPUTS:
            parts[output].append(normal(reported(out, output)).float().cpu().numpy())
    module.train(was_training)
    return {output: np.concatenate(kept) for output, kept in parts.items()}


class WatchUnseen(lightning.Callback):
    """Logs the accuracy among validation classes, and keeps which output of the heads was best."""

    def __init__(
        self, loader: Batches, truth: NDArray[np.int64], rows: Floats, classes: NDArray[np.int64],
        log: Callable[[str], None],
    ) -> None:  # fmt: skip
        """Remember what to look at.

        Args:
            loader: the images of the validation classes, in order.
            truth: int64 (n,), rows of their classes.
            rows: float32 (C, K), of all classes.
            classes: rows of the validation classes.
            log: takes one line an epoch.
        """
        self.loader, self.truth, self.rows, self.classes, self.log_line = loader, truth, rows, classes, log
        self.history: list[dict[str, float]] = []
        """What was measured after each epoch; saved with every checkpoint."""

    def state_dict(self) -> dict[str, Any]:
        """Save the history."""
        return {"history": self.history}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take it back."""
        self.history = list(state_dict["history"])

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Measure, log, and keep the best output in the module, which saves it with its weights.

        Raises:
            TrainingError: where the network no longer gives numbers; no checkpoint is written then.
        """
        assert isinstance(pl_module, DsvaModule)
        said = attributes_of(pl_module, self.loader)
        if not all(np.allclose(np.linalg.norm(attributes, axis=1), 1, atol=1e-2) for attributes in said.values()):
            raise TrainingError(
                f"the network gives no numbers after epoch {trainer.current_epoch}: lower the learning rate; "
                "the last checkpoint is kept as it was"
            )
        found = {
            output: per_class_accuracy(attributes @ self.rows.T, self.truth, self.classes)
            for output, attributes in said.items()
        }
        best = max(OUTPUTS, key=lambda output: found[output])
        pl_module.output = best
        figures = {MONITOR: found[best], **{f"{MONITOR}_{k}": v for k, v in found.items()}}
        pl_module.log_dict(figures)
        loss = float(trainer.callback_metrics["loss"])
        self.history.append({"epoch": trainer.current_epoch, "loss": loss, **figures})
        told = ", ".join(f"{output} {value:.3f}" for output, value in found.items())
        self.log_line(f"epoch {trainer.current_epoch}: loss {loss:.4f}; validation classes {told}")


class StopWhenStale(EarlyStopping):
    """Early stopping on validation classes that a stopped run, run again, remembers."""

    def __init__(self, patience: int) -> None:
        super().__init__(MONITOR, patience=patience, mode="max", check_on_train_epoch_end=True)

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Go no further where an earlier run had enough."""
        trainer.should_stop = self.wait_count >= self.patience
