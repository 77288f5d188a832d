"""Classes from names and examples, on UC Merced with the bundled model: docs/benchmarks/examples_ucm.json.

The label is the one that a map gives; the images of the examples are not tested. UC Merced is reported only: the
constants were chosen on AID and RSSCN7 with `dsva-small`. `--choose` prints accuracies by `PRIOR_EXAMPLES`; `--base`
asks `dsva-base`, whose record is docs/benchmarks/examples_ucm_base.json.
"""

import sys

import numpy as np
from features import ImageSet
from record import write_record

import rszsl
from rszsl.labels.calibrate import score
from rszsl.labels.examples import PRIOR_EXAMPLES, class_row, evidence
from rszsl.labels.graph import neighbour_graph
from rszsl.labels.refine import NEIGHBOURS, presence_prior, refine

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


def confidence_of(model, images, asked, rows, count=0):
    taught = model.class_rows([rszsl.ClassName(n) for n in images.names]).taught
    shown, attributes = evidence([count] * len(rows)), images.attributes[asked]
    return score(attributes, rows, model.background_rows, model.calibrator, shown, taught).confidence


def refined_choice(model, images, asked, confidence):
    """What `--refine` would choose."""
    choice, sure = confidence.argmax(1), confidence.max(1) >= model.min_confidence
    vectors = images.attributes[asked][sure]
    prior = presence_prior(confidence[sure], model.min_confidence)
    choice[sure] = refine(vectors, prior, neighbour_graph(vectors, NEIGHBOURS)).argmax(1)
    return choice


def measure(model, images, count):
    """Means over the draws, beside text alone on the same test images, which the model was not trained on."""
    runs = []
    for number in range(DRAWS):
        shown, left = draw(images, count, number)
        asked = left[images.kept_out[left]]
        truth = images.truth[asked]
        by_text = confidence_of(model, images, asked, rows_of(model, images, [at[:0] for at in shown]))
        both = confidence_of(model, images, asked, rows_of(model, images, shown), count)
        runs.append(
            {
                "text alone": np.mean(by_text.argmax(1) == truth),
                "with examples": np.mean(both.argmax(1) == truth),
                "text alone, refined": np.mean(refined_choice(model, images, asked, by_text) == truth),
                "with examples, refined": np.mean(refined_choice(model, images, asked, both) == truth),
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


def main():
    base = "--base" in sys.argv
    model = rszsl.load_model("dsva-base" if base else "dsva-small", device="cpu")
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
        "caution": "the model was taught all of these names by other images of UC Merced; for names that it was not "
        "taught see bundled.json",
        "test_images": int(images.kept_out.sum()),
    }
    write_record("examples_ucm" + "_base" * base, figures, seed=SEED, files=images.files, root=images.root, **about)


if __name__ == "__main__":
    main()
