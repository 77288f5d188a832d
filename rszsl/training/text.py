"""Training of the text side: real CLIP text vectors, and vectors distilled from a sentence encoder.

A phrase's target is its real CLIP vector where there is one. Elsewhere it is distilled: an MLP from sentence
vectors to CLIP text vectors, fitted on the real pairs, averaged with the mean of the real vectors of its words
(held-out names of several words are found far better by both than by either).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from rszsl.model.names import words_of
from rszsl.model.text import TEXT_DIM, PhraseTables, find_word, gram_ids, unit
from rszsl.zsl.rows.vectors import KnownPhrases

Floats = NDArray[np.float32]
CONTRAST_TEMPERATURE = 0.05
PHRASE_LR = 2e-3
SPARSE_TABLES = frozenset({"words.weight", "word_weights.weight", "grams.weight"})
MAX_WORDS = 6
MAX_GRAMS = 36
WORD_DROPOUT = 0.15
"""Share of known words that are read by their n-grams, so that the n-grams learn to stand for words."""
REAL_WEIGHT = 1.0
"""What a phrase with a real vector counts; others count less."""
SETTLING_STEPS, SETTLING_LR, SETTLING_PULL = 60, 5e-3, 0.1
"""How the words settle in the end; the pull, on the square of a step, holds them near where phrases want them."""


@dataclass(frozen=True, slots=True, eq=False)
class PhraseTargets:
    """Phrases to learn, with unit targets float32 (N, 512) and the weight of each, float32 (N,)."""

    phrases: tuple[str, ...]
    targets: Floats
    weights: Floats


def phrase_loss(predicted: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Cosine distance plus a small contrastive term, so that phrases that share a word do not collapse.

    Args:
        predicted: (N, 512), unit length.
        targets: (N, 512), unit length.
        weights: (N,).
    """
    distance = 1 - (predicted * targets).sum(-1)
    logits = predicted @ targets.T / CONTRAST_TEMPERATURE
    # Two phrases with one meaning (motorway, freeway) are no rivals.
    rivals = (targets @ targets.T > 0.9) & ~torch.eye(len(targets), dtype=torch.bool)
    confusion = functional.cross_entropy(
        logits.masked_fill(rivals, float("-inf")), torch.arange(len(targets)), reduction="none"
    )
    return ((distance + 0.1 * confusion) * weights).sum() / weights.sum()


def fit_distiller(sentences: Floats, targets: Floats, *, seed: int, epochs: int = 25) -> Callable[[Floats], Floats]:
    """Fit the MLP from sentence vectors (N, 384) to centred unit text vectors (N, 512)."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(sentences.shape[1], 1024), nn.GELU(), nn.Dropout(0.1), nn.Linear(1024, TEXT_DIM))
    x, y = torch.from_numpy(sentences), torch.from_numpy(targets)
    steps = epochs * (len(x) // 512 + 1)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for _ in range(steps):
        rows = torch.randint(len(x), (512,))
        loss = phrase_loss(functional.normalize(net(x[rows]), dim=-1), y[rows], torch.ones(512))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    net.eval()

    def distil(vectors: Floats) -> Floats:
        with torch.inference_mode():
            return unit(net(torch.from_numpy(vectors)).numpy())

    return distil


def distilled_targets(
    phrases: Sequence[str], sentences: Floats, distil: Callable[[Floats], Floats], known: KnownPhrases, centred: Floats
) -> Floats:
    """Mix each phrase's distilled vector with the mean of its words' real vectors, where it has several known."""
    row_of = {name: row for row, name in enumerate(known.names)}
    out = distil(sentences)
    for i, phrase in enumerate(phrases):
        rows = [row_of[word] for word in phrase.split() if word in row_of]
        if len(rows) > 1:
            out[i] = unit(out[i] + unit(centred[rows].mean(0)))
    return out


class PhraseNet(nn.Module):
    """The trainable form of `rszsl.model.text.PhraseEncoder`; its arithmetic is the same."""

    def __init__(self, words: int, grams: int, width: int, hidden: int) -> None:
        super().__init__()
        # Sparse: a batch touches a few of the rows, and Adam over all of them would take most of the time.
        self.words = nn.Embedding(words, width, sparse=True)
        self.word_weights = nn.Embedding(words, 1, sparse=True)
        self.grams = nn.Embedding(grams + 1, width, padding_idx=grams, sparse=True)  # the last row pads
        self.gram_weight = nn.Parameter(torch.zeros(1))
        self.linear = nn.Linear(width, TEXT_DIM, bias=False)
        self.inner = nn.Linear(width, hidden)
        self.outer = nn.Linear(hidden, TEXT_DIM)
        nn.init.zeros_(self.word_weights.weight)
        nn.init.normal_(self.grams.weight, std=0.05)
        nn.init.zeros_(self.outer.weight)
        with torch.no_grad():
            self.grams.weight[grams] = 0

    def forward(self, word_ids: Tensor, grams: Tensor, present: Tensor) -> Tensor:
        """Give unit vectors (N, 512) from word ids (N, W; -1 unknown), n-grams (N, W, G), presence (N, W)."""
        known = word_ids >= 0
        ids = word_ids.clamp(min=0)
        vectors = self.words(ids)
        spelt = grams[present & ~known]  # (U, G): only the words that are read by their n-grams
        count = spelt.ne(self.grams.num_embeddings - 1).sum(-1, keepdim=True)
        vectors = vectors.masked_scatter((present & ~known)[..., None], self.grams(spelt).sum(1) / count)
        weights = torch.where(known, self.word_weights(ids)[..., 0], self.gram_weight)
        shares = weights.masked_fill(~present, float("-inf")).softmax(-1)
        mean = (shares[..., None] * vectors).sum(1)
        return functional.normalize(self.linear(mean) + self.outer(functional.relu(self.inner(mean))), dim=-1)

    def tables(self) -> PhraseTables:
        """Give the weights as the run-time encoder wants them."""
        array = {name: p.detach().numpy() for name, p in self.named_parameters()}
        return PhraseTables(
            words=array["words.weight"],
            word_weights=array["word_weights.weight"][:, 0],
            grams=array["grams.weight"][:-1],
            gram_weight=array["gram_weight"],
            linear=array["linear.weight"].T.copy(),
            inner=array["inner.weight"].T.copy(),
            inner_bias=array["inner.bias"],
            outer=array["outer.weight"].T.copy(),
            outer_bias=array["outer.bias"],
        )


def initialise(net: PhraseNet, vocabulary: Sequence[str], data: PhraseTargets) -> None:
    """Start the word table at the principal components of its words' own targets."""
    row_of = {name: row for row, name in enumerate(data.phrases)}
    rows = [row_of.get(word) for word in vocabulary]
    targets = np.stack([data.targets[r] if r is not None else np.zeros(TEXT_DIM, "float32") for r in rows])
    _, _, axes = np.linalg.svd(data.targets[:: max(1, len(data.targets) // 8000)], full_matrices=False)
    width = net.words.embedding_dim
    with torch.no_grad():
        net.words.weight.copy_(torch.from_numpy(targets @ axes[:width].T))
        net.linear.weight.copy_(torch.from_numpy(axes[:width].T.copy()))


def pack(phrases: Sequence[str], vocabulary: Sequence[str], buckets: int) -> tuple[Tensor, Tensor, Tensor]:
    """Turn phrases into word ids (N, W; -1 unknown), n-grams (N, W, G; `buckets` pads) and presence (N, W)."""
    index = {word: row for row, word in enumerate(vocabulary)}
    ids = torch.full((len(phrases), MAX_WORDS), -1)
    grams = torch.full((len(phrases), MAX_WORDS, MAX_GRAMS), buckets)
    present = torch.zeros((len(phrases), MAX_WORDS), dtype=torch.bool)
    for i, phrase in enumerate(phrases):
        for j, word in enumerate(words_of(phrase)[:MAX_WORDS]):
            row = find_word(word, index)
            ids[i, j] = -1 if row is None else row
            spelt = gram_ids(word, buckets)[:MAX_GRAMS]
            grams[i, j, : len(spelt)] = torch.tensor(spelt, dtype=torch.long)
            present[i, j] = True
    return ids, grams, present


def train_phrases(
    data: PhraseTargets,
    vocabulary: Sequence[str],
    *,
    grams: int,
    width: int,
    hidden: int,
    epochs: int,
    seed: int,
    log: Callable[[str], None],
) -> PhraseTables:
    """Train the phrase encoder on its targets."""
    torch.manual_seed(seed)
    net = PhraseNet(len(vocabulary), grams, width, hidden)
    initialise(net, vocabulary, data)
    ids, spelt, present = pack(data.phrases, vocabulary, grams)
    targets, weights = torch.from_numpy(data.targets), torch.from_numpy(data.weights)
    batches = len(ids) // 512
    tables = [p for name, p in net.named_parameters() if name in SPARSE_TABLES]
    rest = [p for name, p in net.named_parameters() if name not in SPARSE_TABLES]
    optimizers = [torch.optim.SparseAdam(tables, lr=PHRASE_LR), torch.optim.Adam(rest, lr=PHRASE_LR)]
    schedules = [torch.optim.lr_scheduler.CosineAnnealingLR(o, epochs * batches) for o in optimizers]
    for epoch in range(epochs):
        order, total = torch.randperm(len(ids)), 0.0
        for rows in order[: batches * 512].view(batches, 512):
            dropped = ids[rows].masked_fill(torch.rand(512, MAX_WORDS) < WORD_DROPOUT, -1)
            loss = phrase_loss(net(dropped, spelt[rows], present[rows]), targets[rows], weights[rows])
            net.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            for optimizer, schedule in zip(optimizers, schedules, strict=True):
                optimizer.step()
                schedule.step()
            total += float(loss.detach())
        if epoch % 5 == 4 or epoch == epochs - 1:
            log(f"text: epoch {epoch + 1} of {epochs}, loss {total / batches:.3f}")
    real = weights == REAL_WEIGHT
    settle_words(net, ids[real], spelt[real], present[real], targets[real])
    return net.tables()


def settle_words(net: PhraseNet, ids: Tensor, spelt: Tensor, present: Tensor, targets: Tensor) -> None:
    """Move the words' vectors to where real names say their own targets; the rest of the net stays as it is.

    A word is in many distilled phrases, and rivals push alike names apart: before this step
    "desert" had a cosine of 0.82 to its own real vector (docs/decisions/0049).

    Args:
        net: trained.
        ids: of the N real names, and
        spelt: their n-grams, and
        present: which places hold a word, as `pack` gives them.
        targets: (N, 512), unit length.
    """
    net.words.sparse = False
    words = net.words.weight
    start = words.detach().clone()
    optimizer = torch.optim.Adam([words], lr=SETTLING_LR)
    for _ in range(SETTLING_STEPS):
        distance = (1 - (net(ids, spelt, present) * targets).sum(-1)).sum()
        loss = distance + SETTLING_PULL * ((words - start) ** 2).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def retrieval_at_1(predicted: Floats, targets: Floats) -> float:
    """Share of predicted vectors (N, D) whose nearest target is their own."""
    return float((np.argmax(predicted @ targets.T, axis=1) == np.arange(len(predicted))).mean())
