"""The two modes of DSVA: `paper`, as it was published, and `rszsl`, with its flaws mended."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from rszsl.errors import TrainingError


class LossMode(StrEnum):
    """How scores become a loss (METHOD B.4)."""

    DOUBLE_SOFTMAX = "double_softmax"
    """Cross-entropy of the softmax of the scores, taken for logits: published; its floor is ln(1 + (C - 1) / e)."""
    LOGITS = "logits"
    """Cross-entropy of the scores over a temperature."""


@dataclass(frozen=True, slots=True)
class DsvaRecipe:
    """Every constant of METHOD B.4 to B.9.

    Attributes:
        loss: how scores become a loss.
        temperature: of `LossMode.LOGITS`.
        centred: tokens come with the tower's own final norm, less their mean; the global head reads the CLS token
            where there is one; rows are taken less their mean over the seen classes, and scores are cosines.
        anchored: prototypes and global head start at the attributes' text vectors, where the rows have them.
        concentration_from: the first epoch, counted from 0, that looks a second time; past the last: never.
        threshold: a map is cut at this multiple of its mean.
        proposal_weight: of the second look's own cross-entropy (0 as published: parsed and never used).
        ways: classes of an episode.
        shots: images a class.
        episodes: batches an epoch.
        epochs: how many.
        heads_epochs: how many of them train only the heads.
        heads_lr: learning rate of the heads while the tower is fixed.
        lr: learning rate of everything after that, at first.
        lr_decay: factor on `lr` every ten epochs.
        betas: of Adam.
        reset_optimizer: Adam forgets its moments every epoch.
        xe_global: weight of the compatibility of the global head (with the second look, where it is on).
        regression_global: weight of the regression of the global head.
        xe_local: weight of the compatibility of the prototypes.
        regression_local: weight of the regression of the prototypes.
        compactness: weight of the compactness of the maps, summed over the batch; from `heads_epochs` on.
        group_local: weight of the group penalty of the prototypes.
        group_global: weight of the group penalty of the global head.
        anchor: weight of the distance to where the heads started, relative to its length; 0: none.
    """

    loss: LossMode
    temperature: float
    centred: bool
    anchored: bool
    concentration_from: int
    threshold: float
    proposal_weight: float
    ways: int
    shots: int
    episodes: int
    epochs: int
    heads_epochs: int
    heads_lr: float
    lr: float
    lr_decay: float
    betas: tuple[float, float]
    reset_optimizer: bool
    xe_global: float
    regression_global: float
    xe_local: float
    regression_local: float
    compactness: float
    group_local: float
    group_global: float
    anchor: float


PAPER = DsvaRecipe(
    loss=LossMode.DOUBLE_SOFTMAX,
    temperature=1.0,
    centred=False,
    anchored=False,
    concentration_from=0,
    threshold=1.0,
    proposal_weight=0.0,
    ways=8,
    shots=3,
    episodes=300,
    epochs=30,
    heads_epochs=5,
    heads_lr=1e-4,
    lr=1e-6,
    lr_decay=0.9,
    betas=(0.5, 0.999),
    reset_optimizer=True,
    xe_global=1.0,
    regression_global=1e-2,
    xe_local=1.0,
    regression_local=8e-2,
    compactness=1e-9,
    group_local=0.0,
    group_global=0.0,
    anchor=0.0,
)
"""As published (METHOD B.10). ZSL 60/10 never looked a second time; GZSL 50/20 had the group penalty: see `paper`."""

RSZSL = replace(
    PAPER,
    loss=LossMode.LOGITS,
    temperature=0.1,
    centred=True,
    anchored=True,
    proposal_weight=1.0,
    episodes=100,
    epochs=8,
    heads_epochs=4,
    heads_lr=1e-3,
    lr=1e-5,
    betas=(0.9, 0.999),
    reset_optimizer=False,
    compactness=1e-6,
    anchor=10.0,
)
"""Ours: logits with a temperature, the tower's normalisation, a proposal loss that is on, heads that start at text."""

MODES = {"paper": PAPER, "rszsl": RSZSL}


def paper(setting: str) -> DsvaRecipe:
    """Give the published recipe of a setting of RSSDIVCS, as `zsl 60/10` or `gzsl 50/20` (METHOD B.10).

    Raises:
        TrainingError: for a setting that was not published.
    """
    changes: dict[str, dict[str, Any]] = {
        "zsl 60/10": {"concentration_from": 41},
        "zsl 50/20": {},
        "zsl 40/30": {},
        "gzsl 60/10": {},
        "gzsl 50/20": {"group_global": 5e-6, "group_local": 5e-4},
        "gzsl 40/30": {},
    }
    if setting not in changes:
        raise TrainingError(f"no published setting {setting!r}; there are {', '.join(changes)}")
    return replace(PAPER, **changes[setting])


def recipe_of(mode: str, changes: Mapping[str, Any]) -> DsvaRecipe:
    """Give the recipe of a mode with some constants changed.

    Raises:
        TrainingError: for an unknown mode or constant.
    """
    if mode not in MODES:
        raise TrainingError(f"no DSVA mode {mode!r}; there are {', '.join(MODES)}")
    known = {**changes}
    if "loss" in known:
        known["loss"] = LossMode(known["loss"])
    if "betas" in known:
        known["betas"] = tuple(known["betas"])
    try:
        return replace(MODES[mode], **known)
    except TypeError as err:
        raise TrainingError(f"[dsva] has an unknown key: {err}") from err
