"""What examples teach: the attribute rows of the tiles under them, from the scene, another scene, or a cache."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS

from rszsl.errors import ExamplesError
from rszsl.labels.encoded import EncodedTiles
from rszsl.labels.examples import MOST_EXAMPLES, thin_out
from rszsl.model.bundle import Model
from rszsl.options import MapOptions
from rszsl.output.cache import Cache, check_fits, open_cache
from rszsl.pipeline.encoding import encode_tiles
from rszsl.pipeline.plan import ScenePlan, cache_key, plan_scene
from rszsl.scene.examples import example_tiles, read_examples
from rszsl.scene.grid import Grid

Floats = NDArray[np.float32]
Found = dict[int, Floats]


@dataclass(frozen=True, slots=True, eq=False)
class Learnt:
    """What the examples taught.

    Attributes:
        path: of the examples.
        rows: float32 (k, K) of each class, unit rows of the attributes of its tiles, k >= 1.
        warnings: what the user should know.
    """

    path: Path
    rows: Mapping[str, Floats]
    warnings: tuple[str, ...] = ()


def learn_from_scene(plan: ScenePlan, model: Model, options: MapOptions) -> Learnt | None:
    """Learn from `options.examples`, by way of `options.cache` where it is there; None without examples.

    Raises:
        ExamplesError: where the examples cannot be read or miss the scene, or a class has no tile to learn from.
        RszslError: as `plan_scene`, for `options.examples_scene`.
    """
    if options.examples is None:
        return None
    if options.examples_scene is not None:
        return _learn_elsewhere(options.examples_scene, model, options)
    wanted, warnings = _wanted(options, plan.sampler.grid, plan.scene.transform, plan.scene.crs)
    found: Found = {}
    if options.cache is not None and options.cache.exists():
        cache = open_cache(options.cache)
        check_fits(cache, cache_key(plan, model, options))
        found = _take(cache.batches("attributes"), _ids(wanted))
    missing = _ids(wanted) - found.keys()
    if missing:
        fewer = replace(plan, sampler=plan.sampler.only(np.array(sorted(missing), dtype="int64")))
        found |= _take(encode_tiles(fewer, model, options), missing)
    return _learnt(wanted, found, options, warnings)


def learn_from_cache(cache: Cache, model: Model, options: MapOptions) -> Learnt | None:
    """Learn from `options.examples` on the cached scene, without opening it; None without examples.

    Raises:
        ExamplesError: as `learn_from_scene`, and where a class has only tiles that the cache does not hold.
    """
    if options.examples is None:
        return None
    if options.examples_scene is not None:
        return _learn_elsewhere(options.examples_scene, model, options)
    key = cache.key
    wanted, warnings = _wanted(options, key.grid, key.affine, key.pyproj_crs)
    return _learnt(wanted, _take(cache.batches("attributes"), _ids(wanted)), options, warnings)


def _learn_elsewhere(scene: str, model: Model, options: MapOptions) -> Learnt | None:
    """Learn on another scene, read with the same bands and ranges; what belongs to one scene alone is left out."""
    own = replace(options, examples_scene=None, aoi=None, cache=None, crs=None, gsd_m=None)
    return learn_from_scene(plan_scene(scene, model.card, own), model, own)


def _wanted(options: MapOptions, grid: Grid, transform: Affine, crs: CRS) -> tuple[dict[str, list[int]], list[str]]:
    """Tiles to learn from, by class, at most `MOST_EXAMPLES` each, and warnings."""
    examples = read_examples(options.examples or Path(), options.class_field, crs)
    tiles, missed = example_tiles(examples, grid, transform)
    warnings = list(examples.warnings)
    if missed:
        warnings.append(
            f"{missed} of {len(examples.names)} examples in {examples.path} lie outside the scene: left out"
        )
    return {name: [ids[i] for i in thin_out(len(ids), MOST_EXAMPLES)] for name, ids in tiles.items()}, warnings


def _ids(wanted: Mapping[str, list[int]]) -> set[int]:
    return {tile for tiles in wanted.values() for tile in tiles}


def _take(batches: Iterable[EncodedTiles], tile_ids: set[int]) -> Found:
    """Pick the attribute rows of these tiles, but for those that are nodata or failed."""
    found: Found = {}
    for tiles in batches:
        for at in np.flatnonzero(np.isin(tiles.tile_ids, list(tile_ids)) & tiles.encoded):
            found[int(tiles.tile_ids[at])] = tiles.attributes[at].astype("float32")
    return found


def _learnt(wanted: Mapping[str, list[int]], found: Found, options: MapOptions, warnings: list[str]) -> Learnt:
    rows = {name: [found[tile] for tile in tiles if tile in found] for name, tiles in wanted.items()}
    empty = [name for name, got in rows.items() if not got]
    if empty:
        raise ExamplesError(
            f'no example of "{empty[0]}" in {options.examples} lies on a tile with data; add one, or leave the class '
            "out of the examples and give its name with --classes"
        )
    lost = len(_ids(wanted) - found.keys())
    if lost:
        warnings.append(f"{lost} tiles under the examples in {options.examples} have no data: left out")
    return Learnt(options.examples or Path(), {name: np.stack(got) for name, got in rows.items()}, tuple(warnings))
