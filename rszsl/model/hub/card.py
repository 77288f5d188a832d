"""Cards of models whose weights stand elsewhere: find, read and write them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rszsl.errors import ModelError
from rszsl.model.card import CARD_FILE, Keys, read_toml
from rszsl.model.hub.source import HubCard, Library, Source
from rszsl.model.hub.store import user_models
from rszsl.model.names import name_key

ARCHITECTURE = "clip"
LIBRARIES: tuple[Library, ...] = ("transformers", "open_clip")
TEXT_KEYS = ("repo", "revision", "url", "member", "file", "arch", "tag", "sha256")


def card_names(folders: Sequence[Path]) -> tuple[str, ...]:
    """Names of all cards in our folders and the user's."""
    cards = [card for folder in (*folders, user_models()) for card in folder.glob(f"*/{CARD_FILE}")]
    return tuple(sorted({card.parent.name for card in cards}))


def find_card(name_or_path: str, folders: Sequence[Path]) -> Path | None:
    """Find the folder of a card by name or by path; None where there is none."""
    named = [folder / name_or_path for folder in (*folders, user_models())] if name_or_path else []
    return next((folder for folder in (*named, Path(name_or_path)) if (folder / CARD_FILE).is_file()), None)


def is_hub_card(path: Path) -> bool:
    """Whether a card is of a model whose weights stand elsewhere."""
    return read_toml(path).get("architecture") == ARCHITECTURE


def read_hub_card(path: Path) -> HubCard:
    """Read such a card.

    Raises:
        ModelError: where a key is missing or of a wrong kind.
    """
    raw = read_toml(path)
    card = Keys(path, raw)
    source, inputs = card.table("source"), card.table("input")
    library = source.get("library", str)
    if library not in LIBRARIES:
        raise ModelError(f'{path}: library "{library}" is unknown to this rszsl (knows: {", ".join(LIBRARIES)})')
    folder = Path(source.get("folder", str)) if "folder" in source else None
    text = raw.get("text", {})
    return HubCard(
        path=path,
        name=path.parent.name,
        version=card.get("version", str),
        source=Source(library, folder=folder, **{key: source.get(key, str) for key in TEXT_KEYS if key in source}),
        input_px=inputs.get("px", int) if "px" in inputs else 0,
        gsd_m=inputs.number("gsd_m"),
        templates=tuple(text.get("templates", ())),
        synonyms={name_key(name): tuple(words) for name, words in text.get("synonyms", {}).items()},
        raw=raw,
    )


def write_card(name: str, source: Source, *, gsd_m: float, templates: Sequence[str], overwrite: bool) -> Path:
    """Write a card of the user's own.

    Raises:
        ModelError: where there is one already, the name is no plain name, or it cannot be written.
    """
    if not name or Path(name).name != name or name.startswith((".", "-")) or ":" in name:
        raise ModelError(f'"{name}" is no plain name; give letters, digits, - and _')
    path = user_models() / name / CARD_FILE
    if path.exists() and not overwrite:
        raise ModelError(f"{path} exists; give another name, or --overwrite")
    given = {key: value for key in TEXT_KEYS if (value := getattr(source, key))}
    if source.folder is not None:
        given["folder"] = str(source.folder)
    tables: dict[str, dict[str, Any]] = {
        "source": {"library": source.library, **given},
        "input": {"gsd_m": gsd_m},
        "text": {"templates": list(templates)} if templates else {},
    }
    head = {"name": name, "version": "1", "architecture": ARCHITECTURE}
    lines = [_line(*item) for item in head.items()]
    for title, table in tables.items():
        lines += ["", f"[{title}]", *(_line(*item) for item in table.items())] if table else []
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    except OSError as err:
        raise ModelError(f"cannot write {path}: {err}; set RSZSL_HOME to a folder that can be written") from err
    return path


def _line(key: str, value: Any) -> str:
    """A JSON string, number or list of strings is TOML, too."""
    return f"{key} = {json.dumps(value, ensure_ascii=False)}"
