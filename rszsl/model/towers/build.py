"""Towers by configuration."""

from collections.abc import Mapping
from typing import Any

from rszsl.errors import ModelError
from rszsl.model.towers.tower import Tower


def build_tower(config: Mapping[str, Any]) -> Tower:
    """Build the tower that a `Tower.config` describes, with random weights.

    Raises:
        ModelError: for an unknown kind.
    """
    kind = config.get("kind")
    if kind in ("clip", "siglip"):
        from rszsl.model.towers.clip import build_clip

        return build_clip(config)
    if kind == "open_clip":
        from rszsl.model.towers.openclip import build_open_clip

        return build_open_clip(config)
    if kind in ("timm", "hybrid"):
        from rszsl.model.towers.timm import build_hybrid, build_timm

        return build_timm(config) if kind == "timm" else build_hybrid(config)
    raise ModelError(
        f"no kind of tower {kind!r} is known to this rszsl (knows: clip, siglip, open_clip, timm, hybrid); "
        "upgrade rszsl"
    )
