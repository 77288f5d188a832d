"""DSVA on the kept tokens of a frozen tower, as a `Method`: heads are trained, the tower is not."""

import logging
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import lightning
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from rszsl.errors import TrainingError
from rszsl.model.heads import DsvaHeads, compatibility, reported
from rszsl.model.text import unit
from rszsl.zsl.dsva.episodes import EpisodeSampler
from rszsl.zsl.dsva.module import DsvaModule
from rszsl.zsl.dsva.recipe import PAPER, RSZSL, DsvaRecipe, LossMode
from rszsl.zsl.dsva.start import start_heads
from rszsl.zsl.problem import Candidate, Indices, Problem

CALIBRATION_IMAGES = 512
"""Training images from which means and spreads of tokens and scores are taken."""
BATCH = 256
SIDE_PX = 28
"""Of the saliency from which the second look is cut; tokens need no finer one."""

Scores = NDArray[np.float32]


class TokenSet(Dataset[tuple[Tensor, int]]):
    """Kept tokens of some images with the row of each one's class; a batch of ids is read at once."""

    def __init__(self, tokens: NDArray[np.float16], ids: Indices, rows: NDArray[np.int64]) -> None:
        self.tokens, self.ids, self.rows = tokens, ids, rows

    def __len__(self) -> int:
        return len(self.ids)

    def __getitems__(self, positions: list[int]) -> tuple[Tensor, Tensor]:
        """Read a batch: float32 (n, T, D), int64 (n,)."""
        return read_tokens(self.tokens, self.ids[positions]), torch.from_numpy(self.rows[positions])

    def __getitem__(self, position: int) -> tuple[Tensor, int]:
        tokens, rows = self.__getitems__([position])
        return tokens[0], int(rows[0])


def as_read(batch: Any) -> Any:
    """Collate a batch of a `TokenSet`, which is read as one."""
    return batch


def read_tokens(tokens: NDArray[np.float16], ids: Indices) -> Tensor:
    """Read tokens of some images: float32 (n, T, D)."""
    return torch.from_numpy(np.asarray(tokens[ids], dtype="float32"))


def frozen_methods() -> "tuple[FrozenDsva, ...]":
    """Give DSVA in both modes, and what is left of ours without each of its parts."""
    ours = replace(RSZSL, epochs=3, heads_epochs=3, episodes=50)
    # A frozen tower has only the first stage, and the published output is the prototypes' (METHOD B.8), which the
    # second look reaches through the tower alone: without it the result is the same.
    published = replace(PAPER, epochs=PAPER.heads_epochs, concentration_from=PAPER.epochs)
    return (
        FrozenDsva("dsva paper", published, (1.0,), ("local",)),
        FrozenDsva("dsva rszsl", ours, name_weights=(0.0, 0.5, 1.0, 2.0)),
        FrozenDsva("dsva rszsl, random start", replace(ours, anchored=False, anchor=0.0), (0.1,)),
        FrozenDsva("dsva rszsl, no second look", replace(ours, concentration_from=ours.epochs), (0.1,)),
        FrozenDsva("dsva rszsl, double softmax", replace(ours, loss=LossMode.DOUBLE_SOFTMAX), (1.0,)),
        FrozenDsva("dsva rszsl, one temperature", ours, (0.1,)),
    )


@dataclass(frozen=True)
class FrozenDsva:
    """Heads over kept tokens; a candidate for every temperature, epoch and output.

    Attributes:
        name: in tables.
        recipe: its `temperature` is replaced by each of `temperatures`.
        temperatures: tried one after the other, each in a training of its own.
        outputs: of the heads, each a candidate.
        name_weights: of the similarity to the class names, added to the scores, each a candidate; 0: none.
    """

    name: str
    recipe: DsvaRecipe
    temperatures: tuple[float, ...] = (0.05, 0.2)
    outputs: tuple[str, ...] = ("global", "local")
    name_weights: tuple[float, ...] = (0.0,)

    def candidates(self, problem: Problem, ask: Indices, seed: int) -> Iterator[Candidate]:
        """Train once for each temperature; see `Method.candidates`.

        Raises:
            TrainingError: where the features have no tokens.
        """
        names = name_scores(problem, ask) if any(self.name_weights) else 0.0
        for temperature in self.temperatures:
            recipe = replace(self.recipe, temperature=temperature)
            for candidate in train_frozen(problem, ask, recipe, seed, self.outputs):
                for weight in self.name_weights:
                    setting = f"{candidate.setting} + {weight:g} names" if weight else candidate.setting
                    yield replace(candidate, setting=setting, scores=candidate.scores + weight * names)


def name_scores(problem: Problem, ask: Indices) -> Scores:
    """Compare images with class names, both less their mean over what is seen: float32 (n, C), cosines.

    Raises:
        TrainingError: where the features have no class names.
    """
    features = problem.features
    if features.names is None:
        raise TrainingError("the class names are not known to these features; use a tower with a text side")
    images = features.embedding[ask] - features.embedding[problem.fit].mean(0)
    names = features.names - features.names.mean(0)
    return unit(images) @ unit(names).T


def train_frozen(
    problem: Problem, ask: Indices, recipe: DsvaRecipe, seed: int, outputs: tuple[str, ...]
) -> Iterator[Candidate]:
    """Train heads on kept tokens; yields a candidate for each epoch and output when all epochs are done."""
    tokens = problem.features.tokens
    if tokens is None:
        raise TrainingError("DSVA needs tokens; these features hold embeddings only. cache them first")
    lightning.seed_everything(seed, verbose=False)
    truth = problem.labels[problem.fit]
    rows = problem_rows(problem, recipe)
    some = np.random.default_rng(seed).choice(problem.fit, min(CALIBRATION_IMAGES, len(problem.fit)), replace=False)
    heads = start_heads(
        tokens.shape[2], tokens.shape[1] - problem.features.grid**2, problem.features.grid, problem.table, recipe,
        read_tokens(tokens, np.sort(some)),
    )  # fmt: skip
    module = DsvaModule(heads, recipe, rows[problem.seen], list(problem.table.groups.values()), side_px=SIDE_PX)
    sampler = EpisodeSampler(truth, ways=recipe.ways, shots=recipe.shots, episodes=recipe.episodes, seed=seed)
    data = TokenSet(tokens, problem.fit, np.searchsorted(problem.seen, truth))
    loader = DataLoader(data, batch_sampler=sampler, collate_fn=as_read)
    keeper = _ScoreKeeper(tokens, ask, rows, outputs)
    quiet_trainer(recipe.epochs, [keeper]).fit(module, loader)
    for epoch, by_output in enumerate(keeper.kept):
        for output in outputs:
            setting = f"t={recipe.temperature:g} epoch={epoch} {output}"
            yield Candidate(setting, by_output[output], extra={"loss": keeper.losses[epoch]})


def problem_rows(problem: Problem, recipe: DsvaRecipe) -> Tensor:
    """Give the rows of all classes as a recipe wants them: (C, K).

    Centred, what all seen classes share is taken off each row: it tells none from another.
    """
    rows = problem.table.rows
    if recipe.centred:
        rows = rows - rows[problem.seen].mean(0)
        rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return torch.from_numpy(np.asarray(rows, dtype="float32"))


class _ScoreKeeper(lightning.Callback):
    """Keeps what the heads say of the asked images after every epoch."""

    def __init__(self, tokens: NDArray[np.float16], ask: Indices, rows: Tensor, outputs: tuple[str, ...]) -> None:
        self.tokens, self.ask, self.rows, self.outputs = tokens, ask, rows, outputs
        self.kept: list[Mapping[str, Scores]] = []
        self.losses: list[float] = []

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        module = pl_module
        assert isinstance(module, DsvaModule)
        self.losses.append(float(trainer.callback_metrics["loss"]))
        self.kept.append(score_tokens(module.heads, self.tokens, self.ask, self.rows, self.outputs))


@torch.inference_mode()
def score_tokens(
    heads: DsvaHeads, tokens: NDArray[np.float16], ask: Indices, rows: Tensor, outputs: tuple[str, ...]
) -> dict[str, Scores]:
    """Score images against class rows (C, K), by each output: float32 (n, C)."""
    parts: dict[str, list[Scores]] = {output: [] for output in outputs}
    for start in range(0, len(ask), BATCH):
        out = heads(read_tokens(tokens, ask[start : start + BATCH]))
        for output in outputs:
            parts[output].append(compatibility(reported(out, output), rows, centred=heads.centred).numpy())
    return {output: np.concatenate(scores) for output, scores in parts.items()}


def quiet_trainer(epochs: int, callbacks: list[lightning.Callback]) -> lightning.Trainer:
    """Build a trainer that writes nothing and says nothing, for the many short trainings of a benchmark."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    return lightning.Trainer(
        max_epochs=epochs, accelerator="cpu", devices=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=callbacks, use_distributed_sampler=False,
    )  # fmt: skip
