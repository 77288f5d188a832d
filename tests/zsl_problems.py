"""Zero-shot problems whose answer is known: class rows really make the features."""

import numpy as np
from fakes import unit

from rszsl.zsl.problem import ClassTable, Features, Problem


def made_problem(*, seen=16, unseen=6, images=30, attributes=12, width=32, noise=0.3, seed=0):
    """Embeddings are a linear picture of noisy class rows, off centre; returns the problem and the unseen images."""
    rng = np.random.default_rng(seed)
    classes = seen + unseen
    rows = unit(np.abs(rng.normal(size=(classes, attributes))))
    labels = np.repeat(np.arange(classes), images)
    picture = rng.normal(size=(attributes, width)) / width**0.5
    hidden = rows[labels] + noise * rng.normal(size=(len(labels), attributes)) / attributes**0.5
    embedding = unit(hidden @ picture + rng.normal(size=width) * 0.2)
    table = ClassTable(
        tuple(f"class {i:02}" for i in range(classes)), rows, tuple(f"attribute {i}" for i in range(attributes))
    )
    order = rng.permutation(classes)
    known = np.sort(order[:seen])
    problem = Problem(
        features=Features(embedding, names=unit(rows @ picture)),
        labels=labels,
        table=table,
        fit=np.flatnonzero(np.isin(labels, known)),
        seen=known,
        unseen=np.sort(order[seen:]),
    )
    return problem, np.flatnonzero(~np.isin(labels, known))


def unseen_accuracy(problem, ask, candidate):
    """Mean per-class top-1 among the unseen classes."""
    scores = candidate.scores if candidate.among_unseen is None else candidate.among_unseen
    said = problem.unseen[scores[:, problem.unseen].argmax(axis=1)]
    truth = problem.labels[ask]
    return np.mean([(said[truth == c] == c).mean() for c in problem.unseen])
