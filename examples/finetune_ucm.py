"""Fine-tune a small CLIP on the captions of UC Merced, three seeds: retrieval and zero-shot accuracy before and after.

    python examples/finetune_ucm.py DATA OUT [SEED ...]

The record `OUT/finetune_ucm.json` is written after each seed.

DATA holds `ucm/` and `captions/ucm_precomp/`. The small CLIP (1.2 M weights, 64 px) is made here, at random: "before"
is chance. It goes through the same `rszsl finetune-clip` as a real one.
"""

import hashlib
import json
import re
import statistics
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, PreTrainedTokenizerFast

from rszsl.cli import cli

SIDE_PX = 64
WORDS = 1000
EPOCHS = 12
PARTS = ("ucm", "captions/ucm_precomp")
"""Of DATA, what is read."""


def small_clip(folder, captions, seed):
    """A CLIP of 4 + 2 layers with a tokenizer of whole words, taken from the captions to learn from."""
    counts = Counter(re.findall(r"\w+", captions.read_text(encoding="utf-8").casefold()))
    listed = ["<pad>", "<unk>", "<start>", "<end>", *(word for word, _ in counts.most_common(WORDS))]
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(listed)}, unk_token="<unk>"))
    words.normalizer, words.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        "<start> $A <end>", special_tokens=[("<start>", 2), ("<end>", 3)]
    )
    special = {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<start>", "eos_token": "<end>"}
    PreTrainedTokenizerFast(tokenizer_object=words, model_max_length=24, **special).save_pretrained(folder)
    torch.manual_seed(seed)
    size = {"hidden_size": 128, "intermediate_size": 256, "num_attention_heads": 4}
    ids = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
    text = {"vocab_size": len(listed), "max_position_embeddings": 24, "num_hidden_layers": 2} | size | ids
    vision = {"image_size": SIDE_PX, "patch_size": 8, "num_hidden_layers": 4} | size
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=128)).save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": SIDE_PX}, crop_size=SIDE_PX).save_pretrained(folder)


def data_hash(data):
    """One sha256 of all files: that of `sha256sum`'s lines, by path in the order of bytes."""
    files = sorted(str(f.relative_to(data)) for part in PARTS for f in (data / part).rglob("*") if f.is_file())
    lines = [f"{hashlib.sha256((data / file).read_bytes()).hexdigest()}  {file}\n" for file in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def git_revision():
    """The commit that this file is of, or None outside a checkout."""
    asked = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    return subprocess.run(asked, capture_output=True, text=True).stdout.strip() or None


def over_seeds(seeds):
    """Mean and sample standard deviation of every figure, before and after."""
    found = {}
    for when in ("before", "after"):
        runs = [seed[when] for seed in seeds.values()]
        figures = {name: [run[name] for run in runs] for name in runs[0] if name not in ("epoch", "loss")}
        found[when] = {
            name: {"mean": round(statistics.mean(v), 4), "sd": round(statistics.stdev(v), 4) if len(v) > 1 else None}
            for name, v in figures.items()
        }
    return found


def header(data, seeds):
    """What was run, on what."""
    return {
        "command": f"python examples/finetune_ucm.py DATA OUT {' '.join(seeds)}".strip(),
        "data": "UC Merced and its captions: 1 480 pictures to learn from, 110 to test on, 5 captions each",
        "data_sha256": data_hash(data),
        "git_revision": git_revision(),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "model": f"small CLIP, random at first, {SIDE_PX} px, {EPOCHS} epochs",
    }


def write(found, seeds, out):
    """Write the record of the seeds so far."""
    text = json.dumps(found | {"seeds": seeds, "over_seeds": over_seeds(seeds)}, indent=2)
    (out / "finetune_ucm.json").write_text(text + "\n", encoding="utf-8")


def main(data, out, *seeds):
    """Train each seed and write `finetune_ucm.json`."""
    data, out = Path(data), Path(out)
    captions = data / PARTS[1]
    found, done = header(data, seeds), {}
    for seed in map(int, seeds or ("0", "1", "2")):
        began = time.monotonic()
        base, tuned = out / f"base-{seed}", out / f"tuned-{seed}"
        small_clip(base, captions / "train_caps.txt", seed)
        cli.main(
            ["finetune-clip", str(captions), "--images", str(data / "ucm"), "--model", str(base), "--out", str(tuned),
             "--epochs", str(EPOCHS), "--batch-size", "74", "--part-size", "74", "--lr", "1e-3", "--device", "cpu",
             "--seed", str(seed)],
            standalone_mode=False,
        )  # fmt: skip
        epochs = json.loads((tuned / "history.json").read_text(encoding="utf-8"))["epochs"]
        seconds = round(time.monotonic() - began)
        done[str(seed)] = {"before": epochs[0], "after": epochs[-1], "seconds": seconds}
        write(found, done, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
