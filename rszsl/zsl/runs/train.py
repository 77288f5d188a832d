"""Train DSVA: Lightning runs it, validation classes choose the epoch, an interrupted run goes on."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from rszsl.errors import TrainingError
from rszsl.zsl.dsva.episodes import EpisodeSampler
from rszsl.zsl.dsva.frozen import TokenSet, as_read, problem_rows, read_tokens
from rszsl.zsl.dsva.module import DsvaModule
from rszsl.zsl.dsva.start import start_heads
from rszsl.zsl.problem import Features, Problem
from rszsl.zsl.runs.pixels import PixelSet
from rszsl.zsl.runs.prepare import Material, gather, start_tower, without_anchors
from rszsl.zsl.runs.recipe import TrainRecipe
from rszsl.zsl.runs.watch import MONITOR, Batches, StopWhenStale, WatchUnseen

Log = Callable[[str], None]
EVAL_BATCH = 64
CALIBRATION_IMAGES = 256
LAST = "last.ckpt"


class Training:
    """One training from recipe to trained module.

    Attributes:
        recipe: what is done.
        material: images, classes, rows.
        tower: the backbone; with `frozen` its tokens are kept, and the module trains heads alone.
        origin: where the tower comes from, if from elsewhere.
        module: what is trained; after `run` with the weights of the best epoch.
        best_epoch: which that was, counted from 0.
        history: what was measured after each epoch.
    """

    def __init__(self, recipe: TrainRecipe, log: Log) -> None:
        """Read the data and build the network.

        Raises:
            TrainingError, ModelError: where data, rows or tower are not there or do not fit.
        """
        lightning.seed_everything(recipe.seed, verbose=False)
        material = gather(recipe, log)
        tower, self.origin = start_tower(recipe.tower)
        self.recipe, table = without_anchors(recipe, material.table, tower)
        self.material = Material(material.images, material.classes, material.parts, table, material.truth)
        self.tower, self.log, self.best_epoch = tower, log, -1
        self.history: list[dict[str, float]] = []
        with _explained(recipe):
            self.tokens = self._frozen_tokens() if recipe.tower.frozen else None
            self.module = self._module()

    def run(self) -> "Training":
        """Train, or go on from the last checkpoint; the module then has the weights of the best epoch.

        Raises:
            TrainingError: where the loss is no number, memory is short, or the checkpoint is of another recipe or data.
            KeyboardInterrupt: where it was interrupted; what is saved goes on from here the next time.
        """
        recipe, folder = self.recipe, self.recipe.work / self.recipe.name
        _check_same_run(folder, recipe)
        best = ModelCheckpoint(folder, "best", monitor=MONITOR, mode="max", save_on_train_epoch_end=True)
        last = ModelCheckpoint(folder, Path(LAST).stem, save_on_train_epoch_end=True, enable_version_counter=False)
        last_file = folder / LAST
        with _explained(recipe):
            watch = self._watch()
            trainer = self._trainer(folder, [watch, best, last])
            trainer.fit(self.module, self._training_batches(), ckpt_path=last_file if last_file.exists() else None)
        self.history = watch.history
        chosen = Path(best.best_model_path) if best.best_model_path else last_file
        state: dict[str, Any] = torch.load(chosen, map_location="cpu", weights_only=True)
        self.module.load_state_dict(state["state_dict"])
        self.module.output, self.best_epoch = state["output"], int(state["epoch"])
        self.log(f"best epoch {state['epoch']}, output {self.module.output}")
        return self

    def batches(self, ids: NDArray[np.int64]) -> Batches:
        """Give images in order, centre crops."""
        data = self._data(ids, train=False)
        return DataLoader(data, batch_size=EVAL_BATCH, num_workers=self._workers, collate_fn=self._collate)

    @property
    def _workers(self) -> int:
        return self.recipe.trainer.workers

    @property
    def _collate(self) -> Callable[..., Any] | None:
        return None if self.tokens is None else as_read

    @property
    def rows(self) -> NDArray[np.float32]:
        """Rows of all classes as the recipe wants them: float32 (C, K), unit length."""
        return np.asarray(problem_rows(self._problem(), self.recipe.dsva).numpy())

    def _problem(self) -> Problem:
        m = self.material
        nothing = Features(np.zeros((0, 0), "float32"))
        return Problem(nothing, m.truth, m.table, m.parts.fit, m.rows_of(m.classes.fit), m.rows_of(m.classes.unseen))

    def _module(self) -> DsvaModule:
        problem, recipe, spec = self._problem(), self.recipe.dsva, self.tower.spec
        some = np.random.default_rng(self.recipe.seed).choice(
            problem.fit, min(CALIBRATION_IMAGES, len(problem.fit)), replace=False
        )
        width = self.tower.width(aligned=recipe.centred)
        heads = start_heads(width, spec.prefix, spec.grid, problem.table, recipe, self._tokens_of(np.sort(some)))
        rows = problem_rows(problem, recipe)[problem.seen]
        tower = None if self.tokens is not None else self.tower
        module = DsvaModule(heads, recipe, rows, list(problem.table.groups.values()), tower, spec.input_px)
        module.origin = {
            "data_sha256": self.material.images.sha256,
            "seed": self.recipe.seed,
            "split_seed": self.recipe.split.seed,
            **({"tower_sha256": self.origin.sha256} if self.origin else {}),
        }
        return module

    @torch.inference_mode()
    def _tokens_of(self, ids: NDArray[np.int64]) -> torch.Tensor:
        if self.tokens is not None:
            return read_tokens(self.tokens, ids)
        tower = self.tower.eval()
        centred = self.recipe.dsva.centred
        return torch.cat([tower.tokens(x, aligned=centred) for x, _ in self.batches(ids)]).clone()

    def _frozen_tokens(self) -> NDArray[np.float16]:
        from rszsl.zsl.towers.cache import cache_features
        from rszsl.zsl.towers.derived import derive_tokens

        name = f"-{self.origin.sha256[:12]}" if self.origin else ""
        folder = self.recipe.work / f"{self.recipe.tower.kind}{name}-tokens"
        features = cache_features(self.tower, self.material.images.paths, folder, log=self.log)
        centred, grid = self.recipe.dsva.centred, self.tower.spec.grid
        file = folder / f"{'aligned' if centred else 'tokens'}-{grid}.npy"
        return derive_tokens(features, self.tower, file, grid, aligned=centred)

    def _data(self, ids: NDArray[np.int64], *, train: bool) -> Dataset[Any]:
        position = np.searchsorted(self.material.rows_of(self.material.classes.fit), self.material.truth[ids])
        if self.tokens is not None:
            return TokenSet(self.tokens, ids, position)
        return PixelSet([self.material.images.paths[i] for i in ids], position, self.tower.spec, train=train)

    def _training_batches(self) -> Batches:
        recipe, ids = self.recipe.dsva, self.material.parts.fit
        sampler = EpisodeSampler(
            self.material.truth[ids], ways=recipe.ways, shots=recipe.shots, episodes=recipe.episodes,
            seed=self.recipe.seed, rank=int(getattr(rank_zero_only, "rank", 0)),
        )  # fmt: skip
        data = self._data(ids, train=True)
        return DataLoader(data, batch_sampler=sampler, num_workers=self._workers, collate_fn=self._collate)

    def _watch(self) -> WatchUnseen:
        m = self.material
        asked = m.parts.validation
        return WatchUnseen(self.batches(asked), m.truth[asked], self.rows, m.rows_of(m.classes.validation), self.log)

    def _trainer(self, folder: Path, callbacks: list[lightning.Callback]) -> lightning.Trainer:
        part = self.recipe.trainer
        try:
            return lightning.Trainer(
                max_epochs=self.recipe.dsva.epochs,
                precision=part.precision,  # type: ignore[arg-type]
                accelerator=part.accelerator,
                devices=part.devices,
                accumulate_grad_batches=part.accumulate,
                callbacks=[*callbacks, *([StopWhenStale(part.patience)] if part.patience else [])],
                logger=[CSVLogger(folder, "log"), *_tensorboard(folder)],
                log_every_n_steps=10,
                use_distributed_sampler=False,
                enable_model_summary=False,
            )
        except (MisconfigurationException, ValueError) as err:
            raise TrainingError(f"[trainer] asks for what cannot be done here: {err}") from err


def _tensorboard(folder: Path) -> list[TensorBoardLogger]:
    try:
        return [TensorBoardLogger(folder, "tensorboard", "")]
    except ModuleNotFoundError:  # an optional package; the CSV has the same figures
        return []


def _check_same_run(folder: Path, recipe: TrainRecipe) -> None:
    file = folder / "recipe.sha256"
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / LAST).exists() and file.exists() and file.read_text() != recipe.key:
        raise TrainingError(
            f"{folder} holds a training of another recipe or backbone; remove it, or give this one another name or "
            "work folder"
        )
    file.write_text(recipe.key)


@contextmanager
def _explained(recipe: TrainRecipe) -> Iterator[None]:
    try:
        yield
    except SystemExit as err:  # how Lightning ends where it was interrupted, deaf to any further interrupt
        signal.signal(signal.SIGINT, signal.default_int_handler)
        raise KeyboardInterrupt from err
    except (torch.OutOfMemoryError, MemoryError) as err:
        raise TrainingError(
            f"out of memory with {recipe.dsva.ways} x {recipe.dsva.shots} images of {recipe.tower.input_px} px: lower "
            "[dsva] shots or ways (and raise [trainer] accumulate), or [tower] input_px, or take precision bf16-mixed"
        ) from err
