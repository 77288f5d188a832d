"""Nested tables as TOML."""

import json
from collections.abc import Mapping
from typing import Any


def to_toml(table: Mapping[str, Any], prefix: str = "") -> str:
    """Write nested tables of strings, numbers and lists of them as TOML, and lists of tables as `[[...]]`."""
    lines = [f"{_key(k)} = {_value(v)}" for k, v in table.items() if not _is_table(v) and not _is_tables(v)]
    for key, value in table.items():
        name = f"{prefix}{_key(key)}"
        if _is_table(value):
            lines += ["", f"[{name}]", to_toml(value, f"{name}.").rstrip()]
        elif _is_tables(value):
            for entry in value:
                lines += ["", f"[[{name}]]", to_toml(entry, f"{name}.").rstrip()]
    return "\n".join(lines) + "\n"


def _is_table(value: object) -> bool:
    return isinstance(value, Mapping)


def _is_tables(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, Mapping) for v in value)


def _key(key: str) -> str:
    return key if key.replace("_", "").replace("-", "").isalnum() else json.dumps(key)


def _value(value: object) -> str:
    if isinstance(value, float):
        return repr(round(value, 6))
    # What is left - strings, integers, flags and lists of them - is spelt in TOML as in JSON.
    return json.dumps(value, ensure_ascii=False)
