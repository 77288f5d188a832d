"""Classes from names and examples, on UC Merced with the bundled model: docs/benchmarks/examples_ucm.json.

The label is the one that a map gives; the images of the examples are not tested. UC Merced is reported only: the
constants were chosen on AID and RSSCN7. `--choose` prints accuracies by `PRIOR_EXAMPLES`, `--calibrate` fits the
card's `example_gain` and `example_shift`.
"""

import sys
from dataclasses import replace

import numpy as np
from features import ImageSet
from record import write_record
from rszsl.training.evaluate import auroc, calibration_error
from scipy.optimize import minimize

import rszsl
from rszsl.labels.calibrate import score
from rszsl.labels.examples import PRIOR_EXAMPLES, class_row, evidence
from rszsl.labels.graph import neighbour_graph
from rszsl.labels.refine import NEIGHBOURS, presence_prior, refine
from rszsl.model.text import words_of

SEED, DRAWS = 20261, 5
COUNTS = (1, 5, 20, 50)
PRIORS = (0.001, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)


def draw(images, count, draw_number):
    """Example images of each class, and all other images."""
    rng = np.random.default_rng([SEED, draw_number])
    shown = [rng.permutation(np.flatnonzero(images.truth == c))[:count] for c in range(len(images.names))]
    return shown, np.setdiff1d(np.arange(len(images.truth)), np.concatenate(shown))


def rows_of(model, images, shown, prior=PRIOR_EXAMPLES):
    names = model.class_rows([rszsl.ClassName(n) for n in images.names]).rows
    return np.stack([class_row(names[c], images.attributes[at], prior) for c, at in enumerate(shown)])


def confidence_of(model, images, asked, rows, count=0, calibrator=None):
    constants = calibrator or model.calibrator
    shown = evidence([count] * len(rows))
    return score(images.attributes[asked], rows, model.background_rows, constants, shown).confidence


def refined_choice(model, images, asked, confidence):
    """What `--refine` would choose."""
    choice, sure = confidence.argmax(1), confidence.max(1) >= model.min_confidence
    vectors = images.attributes[asked][sure]
    prior = presence_prior(confidence[sure], model.min_confidence)
    choice[sure] = refine(vectors, prior, neighbour_graph(vectors, NEIGHBOURS)).argmax(1)
    return choice


def presence(confidence, truth, classes):
    """Mean AUROC of presence, and calibration error where one tile in five shows the class."""
    present = truth[:, None] == np.arange(confidence.shape[1])
    weights = np.where(present, 1 / present.sum(0), 4 / (~present).sum(0))
    ranks = [auroc(confidence[:, c], present[:, c]) for c in classes]
    gap = calibration_error(confidence[:, classes].ravel(), present[:, classes].ravel(), weights[:, classes].ravel())
    return float(np.mean(ranks)), gap


def measure(model, images, count):
    """Means over the draws, beside text alone on the same test images."""
    taught = np.array([" ".join(words_of(name)) in model.text.taught for name in images.names])
    runs = []
    for number in range(DRAWS):
        shown, asked = draw(images, count, number)
        truth = images.truth[asked]
        by_text = confidence_of(model, images, asked, rows_of(model, images, [at[:0] for at in shown]))
        both = confidence_of(model, images, asked, rows_of(model, images, shown), count)
        right = both.argmax(1) == truth
        ranks, gap = presence(both, truth, np.flatnonzero(~taught))
        runs.append(
            {
                "text alone": np.mean(by_text.argmax(1) == truth),
                "with examples": right.mean(),
                "with examples, names that images taught": right[taught[truth]].mean(),
                "with examples, other names": right[~taught[truth]].mean(),
                "text alone, refined": np.mean(refined_choice(model, images, asked, by_text) == truth),
                "with examples, refined": np.mean(refined_choice(model, images, asked, both) == truth),
                "presence AUROC, other names": ranks,
                "calibration error at one in five, other names": gap,
            }
        )
    found = {key: round(float(np.mean([run[key] for run in runs])), 4) for key in runs[0]}
    lead = min(run["with examples"] - run["text alone"] for run in runs)
    return found | {"smallest lead over text alone": round(float(lead), 4)}


def choose(model):
    """Print the accuracy on AID and RSSCN7 by prior and number of examples."""
    for name, limit in (("aid", 2400), ("rsscn7", 1400)):
        images = ImageSet(model, name, limit)
        for count in (1, 2, 5, 20):
            drawn = [draw(images, count, number) for number in range(DRAWS)]
            for prior in PRIORS:
                right = [
                    np.mean(
                        confidence_of(model, images, asked, rows_of(model, images, shown, prior), count).argmax(1) == t
                    )
                    for shown, asked in drawn
                    for t in [images.truth[asked]]
                ]
                print(f"{name} {count} examples, prior {prior:g}: {100 * np.mean(right):.1f}", flush=True)


def calibrate(model):
    """Fit the two constants by log loss, one tile in five showing the class, and print them."""
    plain = replace(model.calibrator, example_gain=0.0, example_shift=0.0)
    cases = []
    for name, limit in (("aid", 2400), ("rsscn7", 1400)):
        images = ImageSet(model, name, limit)
        for count in (1, 2, 5, 20):
            shown, asked = draw(images, count, 0)
            p = confidence_of(model, images, asked, rows_of(model, images, shown), count, plain).astype("float64")
            present = images.truth[asked][:, None] == np.arange(len(images.names))
            weights = np.where(present, 1 / present.sum(0), 4 / (~present).sum(0))
            cases.append((np.log(p / (1 - p)), present, weights / weights.sum(), float(evidence([count])[0])))

    def loss(constants):
        gain, shift = constants
        logits = [((1 + gain * e) * z - shift * e, present, weights) for z, present, weights, e in cases]
        return sum((w * np.where(present, np.logaddexp(0, -z), np.logaddexp(0, z))).sum() for z, present, w in logits)

    found = minimize(loss, [0.0, 0.0], method="Nelder-Mead")
    print(f"example_gain = {found.x[0]:.3f}\nexample_shift = {found.x[1]:.3f}")


def main():
    model = rszsl.load_model(device="cpu")
    if "--calibrate" in sys.argv:
        calibrate(model)
        return
    if "--choose" in sys.argv:
        choose(model)
        return
    images = ImageSet(model, "ucm")
    figures = {f"{count} a class": measure(model, images, count) for count in COUNTS}
    about = {
        "what": "top-1 accuracy on UC Merced, 21 classes, examples aside; mean over draws of the examples",
        "model": f"{model.card.name} {model.card.version}",
        "model_sha256": model.card.sha256,
        "draws": DRAWS,
        "prior_examples": PRIOR_EXAMPLES,
        "caution": "the model was trained on images of UC Merced under the names that images taught, not of the others",
    }
    write_record("examples_ucm", figures, seed=SEED, files=images.files, root=images.root, **about)


if __name__ == "__main__":
    main()
