"""Small random models with real configurations, saved as their libraries save them."""

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

CLIP_PX, SIGLIP_PX, OPEN_CLIP_PX = 224, 96, 128
OPEN_CLIP_CONFIG = {
    "model_cfg": {
        "embed_dim": 32,
        "vision_cfg": {"image_size": OPEN_CLIP_PX, "layers": 2, "width": 64, "patch_size": 32, "head_width": 32},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
    },
    "preprocess_cfg": {
        "mean": [0.48145466, 0.4578275, 0.40821073],
        "std": [0.26862954, 0.26130258, 0.27577711],
        "interpolation": "bicubic",
        "resize_mode": "shortest",
    },
}


def save_clip(folder: Path, *, pickle=False, seed=0) -> Path:
    """A CLIPModel with its processor and byte-pair tokenizer."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    _save_clip_tokenizer(folder)
    size = {"intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
    tokens = {"bos_token_id": 512, "eos_token_id": 513, "pad_token_id": 513}
    config = CLIPConfig(
        vision_config={"hidden_size": 64, "image_size": CLIP_PX, "patch_size": 32} | size,
        text_config={"vocab_size": 514, "hidden_size": 32, "max_position_embeddings": 77} | tokens | size,
        projection_dim=32,
    )
    model = CLIPModel(config)
    if pickle:
        config.architectures = ["CLIPModel"]
        config.save_pretrained(folder)
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
    else:
        model.save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": CLIP_PX}, crop_size=CLIP_PX).save_pretrained(folder)
    return folder


def save_siglip(folder: Path, seed=0) -> Path:
    """A SiglipModel with its processor and a tokenizer in the fast format."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast, SiglipConfig, SiglipImageProcessor, SiglipModel

    torch.manual_seed(seed)
    words = Tokenizer(models.WordLevel(unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.WordLevelTrainer(special_tokens=["<pad>", "</s>", "<unk>"])
    words.train_from_iterator(["a satellite image of forest river storage tanks water grass"], trainer)
    PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=16
    ).save_pretrained(folder)
    size = {"intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
    tokens = {"bos_token_id": 1, "eos_token_id": 1, "pad_token_id": 0}
    config = SiglipConfig(
        vision_config={"hidden_size": 64, "image_size": SIGLIP_PX, "patch_size": 16} | size,
        text_config={"vocab_size": 64, "hidden_size": 64, "max_position_embeddings": 16} | tokens | size,
    )
    SiglipModel(config).save_pretrained(folder)
    SiglipImageProcessor(size={"height": SIGLIP_PX, "width": SIGLIP_PX}).save_pretrained(folder)
    return folder


def save_open_clip(folder: Path, *, mode="shortest", seed=0) -> Path:
    """A model of open_clip in its own folder layout."""
    import open_clip
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    config = OPEN_CLIP_CONFIG | {"preprocess_cfg": OPEN_CLIP_CONFIG["preprocess_cfg"] | {"resize_mode": mode}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    save_file({name: t.contiguous() for name, t in model.state_dict().items()}, folder / "open_clip_model.safetensors")
    return folder


def library_embeddings(folder: Path, images) -> np.ndarray:
    """What the library alone says of pictures: its own processor and its own model."""
    with torch.inference_mode():
        if (folder / "open_clip_config.json").is_file():
            import open_clip

            model, transform = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
            raw = model.eval().encode_image(torch.stack([transform(Image.fromarray(i)) for i in images]))
        else:
            from transformers import AutoImageProcessor, AutoModel

            processor = AutoImageProcessor.from_pretrained(folder)
            model = AutoModel.from_pretrained(folder).eval()
            pixels = processor([Image.fromarray(i) for i in images], return_tensors="pt")["pixel_values"]
            out = model.get_image_features(pixel_values=pixels)
            raw = out if isinstance(out, torch.Tensor) else out.pooler_output
    return torch.nn.functional.normalize(raw, dim=-1).numpy()


def _save_clip_tokenizer(folder: Path) -> None:
    """Bytes as CLIP writes them, and no merges: every letter is a token."""
    from open_clip.tokenizer import bytes_to_unicode

    letters = list(bytes_to_unicode().values())
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    tokenizer = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "pad_token": "<|endoftext|>"} | special
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
