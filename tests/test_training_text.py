"""Training of the text side."""

import numpy as np
import pytest
import torch

from rszsl.model.text import PhraseEncoder
from rszsl.training.text import (
    REAL_WEIGHT,
    PhraseNet,
    PhraseTargets,
    pack,
    phrase_loss,
    settle_words,
    train_phrases,
)

WORDS = ["desert", "sand", "green", "field"]


def directions(count, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(count, 512)).astype("float32")
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture
def net():
    torch.manual_seed(3)
    net = PhraseNet(words=len(WORDS), grams=50, width=64, hidden=8)
    with torch.no_grad():
        net.words.weight *= 0.1  # of a length as training gives them
    return net


def settled(net, phrases, targets):
    ids, spelt, present = pack(phrases, WORDS, 50)
    before = PhraseEncoder(WORDS, net.tables())
    start = [before.encode(phrase) @ target for phrase, target in zip(phrases, targets, strict=True)]
    settle_words(net, ids, spelt, present, torch.from_numpy(targets))
    after = PhraseEncoder(WORDS, net.tables())
    return start, [after.encode(phrase) @ target for phrase, target in zip(phrases, targets, strict=True)]


def test_words_settle_nearer_to_what_real_names_are(net):
    start, end = settled(net, ["desert", "green field"], directions(2))
    assert all(b > a + 0.03 for a, b in zip(start, end, strict=True))


def test_only_the_words_of_real_names_settle(net):
    before = {name: value.detach().clone() for name, value in net.named_parameters()}
    settled(net, ["desert", "green field"], directions(2))
    for name, value in net.named_parameters():
        if name == "words.weight":
            moved = (value != before[name]).any(1).tolist()
            assert moved == [True, False, True, True]
        else:
            assert torch.equal(value, before[name]), name


def test_training_ends_with_real_names_nearer_to_their_own_vectors(monkeypatch):
    # Forty phrases want "desert" to be something else than its real vector.
    real, other = directions(2)
    phrases = ["desert", *[f"desert {a}{b}" for a in "abcdefgh" for b in "vwxyz"]]
    targets = np.stack([real, *[other] * 40])
    weights = np.array([REAL_WEIGHT] + [0.7] * 40, "float32")
    data = PhraseTargets(tuple(phrases * 13), np.tile(targets, (13, 1)), np.tile(weights, 13))

    def trained():
        tables = train_phrases(data, ["desert"], grams=50, width=64, hidden=8, epochs=3, seed=1, log=str)
        return PhraseEncoder(["desert"], tables).encode("desert") @ real

    with_it = trained()
    monkeypatch.setattr("rszsl.training.text.settle_words", lambda *_: None)
    assert with_it > trained() + 0.1


def test_phrases_of_one_meaning_are_no_rivals():
    a, b = torch.from_numpy(directions(2))
    near = torch.nn.functional.normalize(a + 0.1 * b, dim=0)
    ones = torch.ones(2)
    same = phrase_loss(torch.stack([a, near]), torch.stack([a, near]), ones)
    assert same == pytest.approx(0, abs=1e-6)
    assert phrase_loss(torch.stack([a, a]), torch.stack([a, b]), ones) > 0.5
