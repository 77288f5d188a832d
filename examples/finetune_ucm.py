"""Fine-tune a small CLIP on the captions of UC Merced, three seeds: retrieval and zero-shot accuracy before and after.

    python examples/finetune_ucm.py DATA OUT [SEED ...]

DATA holds `ucm/` and `captions/ucm_precomp/`. The small CLIP (1.2 M weights, 64 px) is made here, at random: "before"
is chance. It goes through the same `rszsl finetune-clip` as a real one.
"""

import json
import re
import sys
import time
from collections import Counter
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, PreTrainedTokenizerFast

from rszsl.cli import cli

SIDE_PX = 64
WORDS = 1000
EPOCHS = 12


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


def main(data, out, *seeds):
    """Train each seed and write `finetune_ucm.json`."""
    data, out = Path(data), Path(out)
    captions = data / "captions" / "ucm_precomp"
    found = {
        "command": f"python examples/finetune_ucm.py DATA OUT {' '.join(seeds)}".strip(),
        "data": "UC Merced and its captions: 1 480 pictures to learn from, 110 to test on, 5 captions each",
        "model": f"small CLIP, random at first, {SIDE_PX} px, {EPOCHS} epochs",
        "seeds": {},
    }
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
        found["seeds"][str(seed)] = {"before": epochs[0], "after": epochs[-1], "seconds": seconds}
    (out / "finetune_ucm.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
