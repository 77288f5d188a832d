"""What the plugin needs of a model card (TOML). QGIS's Python may be older than `tomllib`."""

from __future__ import annotations

import re


def card_number(card: str, section: str, key: str) -> float | None:
    """A number of a section of the card, or None."""
    body = _section(card, section)
    found = re.search(rf"^{re.escape(key)}\s*=\s*([-+.\deE_]+)", body, re.MULTILINE)
    return float(found.group(1)) if found else None


def card_text(card: str, key: str) -> str:
    """A plain text of the card's head, or ""."""
    found = re.search(rf'^{re.escape(key)}\s*=\s*"([^"]*)"', _section(card, ""), re.MULTILINE)
    return found.group(1) if found else ""


def _section(card: str, name: str) -> str:
    """The lines below `[name]`, up to the next section; "" is the head."""
    parts = re.split(r"^\[+([^\]\n]+)\]+\s*$", card, flags=re.MULTILINE)
    if not name:
        return parts[0]
    return next((body for title, body in _pairs(parts[1:]) if title.strip() == name), "")


def _pairs(items: list) -> list:
    return [(items[i], items[i + 1]) for i in range(0, len(items) - 1, 2)]
