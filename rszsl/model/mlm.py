"""A model as a STAC Item with the Machine Learning Model extension (MLM 1.5), made from its card.

The extension knows closed lists of classes only. Ours is open, so the item lists no classes: what a model says is a
score for each attribute, and the names of the attributes stand among the hyperparameters.
"""

import json
import tomllib
from pathlib import Path
from typing import Any

from safetensors import safe_open

from rszsl.model.card import ATTRIBUTES_FILE, CARD_FILE, TOWER_FILE, WEIGHTS_FILE, Keys, ModelCard, read_card
from rszsl.model.packing import count_numbers

MLM_FILE = "mlm.json"
STAC_VERSION = "1.1.0"
MLM_SCHEMA = "https://stac-extensions.github.io/mlm/v1.5.2/schema.json"
FILE_SCHEMA = "https://stac-extensions.github.io/file/v2.1.0/schema.json"
SOURCE = "https://github.com/rszsl/rszsl"
SHA256_PREFIX = "1220"
"""What makes a multihash, as the file extension wants it, of a sha256: the function's code and 32 bytes."""
ARCHITECTURES = {
    "dsva": "DSVA (arXiv 2402.02094): a trunk, convolutional or CLIP's, transformer blocks, attribute prototypes",
    "dsva-tower": "DSVA (arXiv 2402.02094): attribute prototypes over the tokens of a vision transformer",
}
TASKS = ("scene-classification", "similarity-search")


def write_mlm(folder: Path) -> Path:
    """Write the item of a model folder beside its card, whole or not at all; returns its path.

    Raises:
        ModelError: where the card is missing or not whole.
    """
    file = folder / MLM_FILE
    temporary = file.with_suffix(".tmp")
    temporary.write_text(mlm_json(read_card(folder / CARD_FILE)), encoding="utf-8")
    temporary.replace(file)
    return file


def mlm_json(card: ModelCard) -> str:
    """Give the item as it stands in a file."""
    return json.dumps(mlm_item(card), indent=1, ensure_ascii=False) + "\n"


def mlm_item(card: ModelCard) -> dict[str, Any]:
    """Describe a model of ours: a STAC Item whose assets are the files beside the card.

    It lies nowhere (its geometry is null): the card does not say where the training images lie.

    Raises:
        ModelError: where the card does not say when the model was trained.
    """
    date = Keys(card.path, card.raw).table("training").get("date", str)
    licence = {"license": card.raw["licence"]} if "licence" in card.raw else {}
    return {
        "type": "Feature",
        "stac_version": STAC_VERSION,
        "stac_extensions": [MLM_SCHEMA, FILE_SCHEMA],
        "id": f"{card.name}-{card.version}",
        "geometry": None,
        "properties": {
            "datetime": f"{date}T00:00:00Z",
            "description": "Zero-shot labels for remote sensing images: tiles and names meet in named attributes.",
            "version": card.version,
            **licence,
            "gsd": card.gsd_m,
            "bands": [{"name": band} for band in card.bands],
            **_fields(card),
        },
        "links": [],
        "assets": {name: _asset(card, name) for name in card.files} | {"source_code": _source_code()},
    }


def _fields(card: ModelCard) -> dict[str, Any]:
    names = attribute_names(card)
    outputs = [_output("attributes", "attribute", len(names), TASKS[0])]
    if "embedding_dim" in card.shape:
        outputs.append(_output("embedding", "embedding", card.shape["embedding_dim"], TASKS[1]))
    return {
        "mlm:name": card.name,
        "mlm:architecture": ARCHITECTURES[card.architecture],
        "mlm:tasks": list(TASKS),
        "mlm:framework": "PyTorch",
        "mlm:total_parameters": count_parameters(card.path.parent / WEIGHTS_FILE),
        "mlm:pretrained": True,
        "mlm:accelerator_constrained": False,
        "mlm:input": [_input(card)],
        "mlm:output": outputs,
        "mlm:hyperparameters": {
            "attributes": list(names),
            "calibrator": dict(card.raw["calibrator"]),
            **{key: card.raw[key] for key in ("shape", "text") if card.raw.get(key)},
        },
    }


def attribute_names(card: ModelCard) -> tuple[str, ...]:
    """Names of a model's attributes, without loading its weights."""
    folder = card.path.parent
    if card.architecture == "dsva":
        listed = tomllib.loads((folder / ATTRIBUTES_FILE).read_text(encoding="utf-8"))["attribute"]
        return tuple(entry["name"] for entry in listed)
    return tuple(json.loads((folder / TOWER_FILE).read_text(encoding="utf-8"))["attributes"])


def count_parameters(weights: Path) -> int:
    """Count the numbers in a file of weights, those of the text side and of fixed statistics too."""
    with safe_open(weights, framework="np") as opened:
        return count_numbers({name: opened.get_slice(name).get_shape() for name in opened.keys()})  # noqa: SIM118


def _input(card: ModelCard) -> dict[str, Any]:
    scaling = [{"type": "z-score", "mean": mean, "stddev": std} for mean, std in zip(card.mean, card.std, strict=True)]
    return {
        "name": "tile",
        "description": f"{card.input_px} x {card.input_px} pixels of {card.gsd_m:g} m, values in 0..1 before scaling",
        "bands": list(card.bands),
        "input": {
            "shape": [-1, len(card.bands), card.input_px, card.input_px],
            "dim_order": ["batch", "bands", "height", "width"],
            "data_type": "float32",
        },
        "value_scaling": scaling,
        "resize_type": "interpolation-area",
    }


def _output(name: str, dimension: str, width: int, task: str) -> dict[str, Any]:
    result = {"shape": [-1, width], "dim_order": ["batch", dimension], "data_type": "float32"}
    return {"name": name, "tasks": [task], "description": "rows of unit length", "result": result}


def _asset(card: ModelCard, name: str) -> dict[str, Any]:
    checked = {
        "file:size": (card.path.parent / name).stat().st_size,
        "file:checksum": SHA256_PREFIX + card.files[name],
    }
    if name != WEIGHTS_FILE:
        kinds = {
            ".toml": "application/toml",
            ".json": "application/json",
            ".onnx": "application/octet-stream; application=onnx",
        }
        media = kinds.get(Path(name).suffix, "text/plain")
        return {"href": f"./{name}", "type": media, "roles": ["metadata"], **checked}
    return {
        "href": f"./{name}",
        "title": f"Weights of {card.name} {card.version}",
        "type": "application/octet-stream; application=safetensors",
        "roles": ["mlm:model", "mlm:weights"],
        "mlm:artifact_type": "safetensors.torch.save_file",
        **checked,
    }


def _source_code() -> dict[str, Any]:
    return {
        "href": SOURCE,
        "title": "rszsl, which loads and runs the model",
        "type": "text/html",
        "roles": ["mlm:source_code", "code"],
        "mlm:entrypoint": "rszsl:load_model",
    }
