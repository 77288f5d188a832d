"""Build the text side of a model: gather phrases, distil targets, train, measure; cached on disk."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rszsl.model.prompts import read_prompts
from rszsl.model.text import PhraseEncoder, PhraseTables, unit
from rszsl.training.attributes import PROMPTS_SOURCE
from rszsl.training.files import save_npz
from rszsl.training.phrases import caption_phrases, frequent_words, without
from rszsl.training.recipe import Recipe
from rszsl.training.sentences import embed_phrases
from rszsl.training.text import (
    REAL_WEIGHT,
    PhraseTargets,
    distilled_targets,
    fit_distiller,
    retrieval_at_1,
    train_phrases,
)
from rszsl.zsl.rows.vectors import KnownPhrases, read_known

Floats = NDArray[np.float32]
HELD_OUT_NAMES = 120
"""Real names of several words that are never trained on, to measure how well names are put together; none that a map is
likely to be asked for."""
PLACES_FILE = Path(__file__).with_name("places.txt")


@dataclass(frozen=True, slots=True, eq=False)
class TextSpace:
    """A trained text side.

    Attributes:
        vocabulary: words of the encoder's table, in order.
        tables: its weights.
        centre: float32 (512,), the mean real text vector, taken off everything in the space.
        retrieval: share of held-out names whose nearest real vector is their own.
        retrieval_names: how many names that was measured on.
    """

    vocabulary: tuple[str, ...]
    tables: PhraseTables
    centre: Floats
    retrieval: float
    retrieval_names: int

    @property
    def encoder(self) -> PhraseEncoder:
        """The run-time encoder."""
        return PhraseEncoder(self.vocabulary, self.tables)


def read_places() -> list[str]:
    """Read our list of things that a map may show."""
    return PLACES_FILE.read_text(encoding="utf-8").splitlines()


def build_text_side(recipe: Recipe, data: Path, held_out: Sequence[str], log: Callable[[str], None]) -> TextSpace:
    """Train the text side, or read it back where it was trained before.

    Args:
        recipe: what to train, on what.
        data: the folder of the data, for its captions.
        held_out: names of unseen concepts, by `name_key`: no phrase that contains one is learnt from.
        log: takes one line at a time.
    """
    file = recipe.work / ("text-without.npz" if held_out else "text.npz")
    if file.exists():
        return _read(file)
    known = read_known(recipe.teachers.text_vectors)
    rng = np.random.default_rng(recipe.seed)
    wanted = {*read_places(), *_looks(), *read_prompts(PROMPTS_SOURCE).looks}
    several = [i for i, name in enumerate(known.names) if " " in name and name not in wanted]
    kept_out = sorted(rng.choice(several, size=min(HELD_OUT_NAMES, len(several) // 2), replace=False).tolist())
    centre = known.vectors.mean(0)
    centred = unit(known.vectors - centre)
    data_set, vocabulary = _targets(recipe, data, held_out, known, centred, kept_out, log)
    sizes = recipe.text
    tables = train_phrases(
        data_set, vocabulary, grams=sizes.grams, width=sizes.width, hidden=sizes.hidden,
        epochs=sizes.epochs, seed=recipe.seed, log=log,
    )  # fmt: skip
    encoder = PhraseEncoder(vocabulary, tables)
    predicted = np.stack([encoder.encode(known.names[i]) for i in kept_out])
    score = retrieval_at_1(predicted, centred[kept_out])
    log(f"text: {len(data_set.phrases)} phrases, {len(vocabulary)} words; held-out names found: {score:.3f}")
    space = TextSpace(tuple(vocabulary), tables, centre, score, len(kept_out))
    arrays = {f"table_{name}": array for name, array in asdict(tables).items()}
    save_npz(file, vocabulary=np.array(vocabulary), centre=centre, measured=np.array([score, len(kept_out)]), **arrays)
    return space


def _targets(
    recipe: Recipe, data: Path, held_out: Sequence[str], known: KnownPhrases, centred: Floats, kept_out: list[int],
    log: Callable[[str], None],
) -> tuple[PhraseTargets, list[str]]:  # fmt: skip
    out = set(kept_out)
    train = [i for i in range(len(known.names)) if i not in out]
    learnt = KnownPhrases(tuple(known.names[i] for i in train), known.vectors[train])
    words = frequent_words(recipe.teachers.word_frequencies, recipe.text.words)
    never = {known.names[i] for i in kept_out} | set(learnt.names)
    extra = [w for w in words if w not in never]
    several = [*caption_phrases(data / recipe.captions, 12_000), *read_places(), *_looks()]
    phrases = [p for p in dict.fromkeys(without(several, held_out)) if p not in never and p not in set(extra)]
    every = [*learnt.names, *extra, *phrases]
    log(f"text: {len(learnt.names)} real, {len(extra)} words and {len(phrases)} phrases to distil")
    sentences = embed_phrases(every, recipe.teachers.sentences, recipe.work / "sentences.npz")
    distil = fit_distiller(sentences[: len(train)], centred[train], seed=recipe.seed)
    rest = distilled_targets(every[len(train) :], sentences[len(train) :], distil, learnt, centred[train])
    weights = np.concatenate([np.full(len(train), REAL_WEIGHT), np.full(len(extra), 0.3), np.full(len(phrases), 0.7)])
    vocabulary = list(dict.fromkeys([w for p in learnt.names for w in p.split()] + words))
    targets = np.concatenate([centred[train], rest])
    return PhraseTargets(tuple(every), targets, weights.astype("float32")), vocabulary


def _looks() -> list[str]:
    """List what names look like, in other words."""
    return list(chain.from_iterable(read_prompts(PROMPTS_SOURCE).looks.values()))


def _read(file: Path) -> TextSpace:
    with np.load(file) as kept:
        tables = {n.removeprefix("table_"): kept[n] for n in kept.files if n.startswith("table_")}
        score, names = kept["measured"].tolist()
        return TextSpace(tuple(kept["vocabulary"].tolist()), PhraseTables(**tables), kept["centre"], score, int(names))
