"""Fine-tune a CLIP of transformers on captions: epochs, evaluation after each, and going on after an interruption."""

import json
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional

from rszsl.errors import OptionError, TrainingError
from rszsl.finetune.augment import augment
from rszsl.finetune.captions import Captioned
from rszsl.finetune.evaluate import evaluate
from rszsl.finetune.loss import contrastive_loss, gathered, same_pairs, step_in_parts, sum_gradients
from rszsl.finetune.weights import SCALE, Freeze, add_adapters, freeze, merge_adapters, save_state
from rszsl.model.hub.towers import Towers
from rszsl.model.preprocess import fit_images, normalise

Log = Callable[[str], None]
STATE, WEIGHTS, HISTORY = "state.pt", "model.safetensors", "history.json"
MAX_SCALE_LOG = math.log(100)
WARM_UP = 0.1
"""Share of the steps in which the learning rate rises."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneOptions:
    """What a user can choose.

    Attributes:
        epochs: how often each picture is seen, each time with one of its captions.
        batch_size: pictures a step, over all processes.
        part_size: pictures that a process embeds at once; a smaller one gives the same gradients in less memory.
        learning_rate: highest; it rises at first and falls as a cosine.
        weight_decay: of AdamW.
        freeze: what does not learn.
        lora: rank of adapters, which learn instead of the weights; 0 for none.
        augment: whether pictures are changed as far as their captions allow.
        seed: of everything random.
    """

    epochs: int = 5
    batch_size: int = 64
    part_size: int = 64
    learning_rate: float = 1e-5
    weight_decay: float = 0.1
    freeze: Freeze = "nothing"
    lora: int = 0
    augment: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.epochs, self.part_size) < 1 or self.batch_size < 2 or self.lora < 0:
            raise OptionError("--epochs and --part-size must be at least 1, --batch-size at least 2, --lora at least 0")
        if self.learning_rate <= 0 or self.weight_decay < 0:
            raise OptionError("--lr must be above 0, --weight-decay at least 0")


def finetune(
    towers: Towers,
    source: Path,
    train: Sequence[Captioned],
    test: Sequence[Captioned],
    out: Path,
    options: FinetuneOptions,
    *,
    device: torch.device,
    resume: bool = False,
    log: Log = print,
) -> list[dict[str, Any]]:
    """Train, evaluate before and after each epoch, and keep the model as a folder that `--model` takes.

    Args:
        towers: a model of transformers; it is trained in place.
        source: its folder, for configuration, processor and tokenizer.
        train: pictures to learn from.
        test: pictures to evaluate on.
        out: the folder to write.
        options: as the user chose.
        device: where the towers are.
        resume: go on where an earlier run in `out` stopped.
        log: takes one line at a time.

    Returns:
        a record for each epoch, the first of them before training.

    Raises:
        TrainingError: where there are too few pictures, or `out` holds another run.
    """
    run = _Run(towers, train, options, device)
    out.mkdir(parents=True, exist_ok=True)
    history = _resumed(run, out, options) if resume else []
    if not history:
        copy_small_files(source, out)
        history = [{"epoch": 0, **evaluate(towers, test, device)}]
        log(_line(history[-1]))
    for epoch in range(len(history), options.epochs + 1):
        loss = run.epoch(epoch)
        history.append({"epoch": epoch, "loss": round(loss, 5), **evaluate(towers, test, device)})
        log(_line(history[-1]))
        if _first():
            _keep(run, out, options, history)
    return history


class _Run:
    """Weights, optimizer and steps of one training."""

    def __init__(
        self, towers: Towers, train: Sequence[Captioned], options: FinetuneOptions, device: torch.device
    ) -> None:
        self.towers, self.train, self.options, self.device = towers, train, options, device
        self.network = towers.network
        torch.manual_seed(options.seed)  # adapters begin at random
        if options.lora:
            add_adapters(self.network, options.lora)
            self.weights = [weight for weight in self.network.parameters() if weight.requires_grad]
        else:
            self.weights = freeze(self.network, options.freeze)
        self.scale: nn.Parameter = getattr(self.network, SCALE)
        self.steps_an_epoch = len(train) // options.batch_size
        if not self.steps_an_epoch:
            raise TrainingError(
                f"{len(train)} pictures do not fill a batch of {options.batch_size}; give a smaller one"
            )
        self.optimizer = torch.optim.AdamW(
            self.weights, lr=options.learning_rate, weight_decay=options.weight_decay, betas=(0.9, 0.98), eps=1e-6
        )

    def epoch(self, number: int) -> float:
        """One pass over the pictures; gives the mean loss. What is drawn depends on seed and number only."""
        rng = np.random.default_rng([self.options.seed, number])
        order, size = rng.permutation(len(self.train)), self.options.batch_size
        losses = []
        for step in range(self.steps_an_epoch):
            batch = order[step * size : (step + 1) * size].tolist()
            chosen = [int(rng.integers(len(self.train[i].captions))) for i in batch]
            self._set_rate((number - 1) * self.steps_an_epoch + step)
            losses.append(self._step(batch, chosen, rng.integers(2**31, size=len(batch)).tolist()))
        return float(np.mean(losses))

    def _step(self, batch: list[int], chosen: list[int], seeds: list[int]) -> float:
        numbers = _numbers([self.train[i].captions[c] for i, c in zip(batch, chosen, strict=True)])
        same = same_pairs(torch.tensor(batch), torch.tensor(numbers)).to(self.device)
        rank, world = _rank_and_world()
        own = [i * len(batch) // world for i in (rank, rank + 1)]
        pairs = [(self.train[i], self.train[i].captions[c]) for i, c in zip(batch, chosen, strict=True)][slice(*own)]
        pixels = torch.stack([self._pixels(*pair, seed) for pair, seed in zip(pairs, seeds[slice(*own)], strict=True)])

        def encode(part: slice) -> tuple[Tensor, Tensor]:
            images = self.towers.images(normalise(pixels[part].to(self.device), self.towers.preprocess))
            texts = self.towers.texts([caption for _, caption in pairs[part]])
            return functional.normalize(images, dim=-1), functional.normalize(texts, dim=-1)

        def loss_of(images: Tensor, texts: Tensor) -> Tensor:
            return contrastive_loss(gathered(images), gathered(texts), self.scale.exp().reshape(()), same)

        self.optimizer.zero_grad()
        loss = step_in_parts(encode, loss_of, len(pairs), self.options.part_size)
        sum_gradients(self.weights, [self.scale])
        self.optimizer.step()
        with torch.no_grad():
            self.scale.clamp_(0, MAX_SCALE_LOG)
        return float(loss)

    def _pixels(self, pair: Captioned, caption: str, seed: int) -> Tensor:
        if self.options.augment:
            return augment(pair.pixels(), caption, self.towers.preprocess, np.random.default_rng(seed))
        return fit_images([pair.pixels()], self.towers.preprocess, torch.device("cpu"))[0]

    def _set_rate(self, step: int) -> None:
        total = self.options.epochs * self.steps_an_epoch
        rise = max(1, round(WARM_UP * total))
        share = (
            (step + 1) / rise if step < rise else 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, total - rise)))
        )
        for group in self.optimizer.param_groups:
            group["lr"] = self.options.learning_rate * share


def _numbers(captions: Sequence[str]) -> list[int]:
    """Equal captions get equal numbers."""
    first: dict[str, int] = {}
    return [first.setdefault(caption.casefold(), i) for i, caption in enumerate(captions)]


def _keep(run: _Run, out: Path, options: FinetuneOptions, history: list[dict[str, Any]]) -> None:
    save_state(out / WEIGHTS, merge_adapters(run.network))
    state = {
        "network": run.network.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "history": json.dumps(history),
        "options": json.dumps(asdict(options)),
    }
    temporary = out / f"{STATE}.part"
    torch.save(state, temporary)
    temporary.replace(out / STATE)
    record = {"options": asdict(options), "epochs": history}
    (out / HISTORY).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _resumed(run: _Run, out: Path, options: FinetuneOptions) -> list[dict[str, Any]]:
    """Load what an earlier run left; [] where there is nothing."""
    if not (out / STATE).is_file():
        return []
    state = torch.load(out / STATE, map_location=run.device, weights_only=True)
    if json.loads(state["options"]) != json.loads(json.dumps(asdict(options))):
        raise TrainingError(f"{out} holds a run with other options; give those again, or another --out")
    run.network.load_state_dict(state["network"])
    run.optimizer.load_state_dict(state["optimizer"])
    history: list[dict[str, Any]] = json.loads(state["history"])
    return history


def copy_small_files(source: Path, out: Path) -> None:
    """Copy configuration, processor and tokenizer of a model."""
    for file in source.iterdir():
        if file.suffix in {".json", ".txt", ".model"} and "index" not in file.name and file.name != HISTORY:
            shutil.copy(file, out / file.name)


def _line(record: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in record.items())


def _rank_and_world() -> tuple[int, int]:
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def _first() -> bool:
    return _rank_and_world()[0] == 0
