"""A scene is read once: embed it into a cache, then label it again, or search it, without opening it."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError

from rszsl.classes import ClassName, as_classes
from rszsl.errors import CacheError, OptionError
from rszsl.model.bundle import Model
from rszsl.options import MapOptions
from rszsl.output.cache import Cache, open_cache
from rszsl.output.styles import similar_qml
from rszsl.output.tables import similar_table
from rszsl.output.writer import check_output, write_layer
from rszsl.pipeline.attention import refuse_attention
from rszsl.pipeline.encoding import encode_into
from rszsl.pipeline.examples import learn_from_cache
from rszsl.pipeline.labelling import Clock, MapResult, label_batches, summary, write_map
from rszsl.pipeline.mapping import loaded_model, make_job
from rszsl.pipeline.meaning import find_meaning
from rszsl.pipeline.plan import Footing, default_cache, default_output, plan_scene
from rszsl.progress import Progress, Silent
from rszsl.scene.georef import cell_polygons

EPSILON = 1e-6
"""Below it a mean of unit vectors points nowhere."""


def embed_scene(
    scene: str | Path,
    *,
    cache: str | Path | None = None,
    model: str | Model | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Path:
    """Encode every tile of a scene into a cache, for `relabel` and `search`.

    Args:
        scene: as in `map_scene`.
        cache: the file to write; default `<scene stem>.rszsl-cache` in the working directory.
        model: as in `map_scene`.
        progress: hears of every batch.
        **options: fields of `rszsl.options.MapOptions` that say how the scene is read and tiled.

    Returns:
        The cache's path.

    Raises:
        RszslError: nothing is left under `cache` then.
    """
    chosen = MapOptions(**options)
    refuse_attention(chosen)
    path = Path(cache) if cache is not None else default_cache(str(scene))
    check_output(path, overwrite=chosen.overwrite, option="--cache")
    loaded = loaded_model(model, chosen.model, chosen)
    told, plan = progress or Silent(), plan_scene(str(scene), loaded.card, chosen)
    told.start(str(scene), len(plan.sampler))
    for warning in plan.warnings:
        told.warn(warning)
    encoded = 0
    with closing(encode_into(path, plan, loaded, chosen, told)) as batches:
        for tiles in batches:
            encoded += int(tiles.encoded.sum())
            told.advance(len(tiles))
    told.done(str(path), f"{path}: {len(plan.sampler)} tiles, {encoded} encoded")
    return path


def relabel(
    cache: str | Path,
    classes: str | Sequence[str | ClassName] | None = None,
    *,
    output: str | Path | None = None,
    model: str | Model | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> MapResult:
    """Label a cached scene again, as a fresh `map_scene` would, without opening the scene.

    Args:
        cache: made by `embed_scene` or `map_scene(..., cache=...)`.
        classes: as in `map_scene`.
        output: as in `map_scene`.
        model: as in `map_scene`; it must be the one of the cache.
        progress: as in `map_scene`.
        **options: `min_confidence`, `attributes`, `refine`, `examples`, `class_field`, `examples_scene`, `format`,
            `overwrite`, `device`, `trust_pickle`.

    Raises:
        CacheError: where the cache is damaged or of another model.
        RszslError: as `map_scene`.
    """
    clock, opened = Clock(), open_cache(Path(cache))
    key = opened.key
    tiling = {"overlap": key.overlap, "min_valid": key.min_valid}
    chosen = MapOptions(**(tiling | options | {"views": key.views}))  # the tiles were seen so often, whoever asks
    refuse_attention(chosen)
    wanted = as_classes(classes) if classes is not None else ()
    path = Path(output) if output is not None else default_output(key.scene, chosen.format)
    check_output(path, overwrite=chosen.overwrite)
    loaded, told = _model_of(opened, model, chosen), progress or Silent()
    filled = replace(chosen, model=loaded.card.name, cache=opened.path)
    job = make_job(loaded, wanted, path, filled, learn_from_cache(opened, loaded, filled))
    job = replace(job, options=job.options | {"precision": key.precision})
    told.start(key.scene, len(opened.tile_ids))
    for warning in job.warnings:
        told.warn(warning)
    labels = label_batches(opened.batches("attributes"), opened.tile_ids, loaded, job, told, key.grid)
    result = write_map(Footing.of_cache(key), labels, loaded, job, clock)
    told.done(str(path), summary(result))
    return result


def search(
    cache: str | Path,
    text: str | None = None,
    *,
    like_xy: tuple[float, float] | Sequence[tuple[float, float]] | None = None,
    like_crs: str | None = None,
    top: int = 20,
    attributes: str | Path | None = None,
    output: str | Path | None = None,
    model: str | Model | None = None,
    device: str = "auto",
    trust_pickle: bool = False,
    overwrite: bool = False,
) -> list[tuple[int, float]]:
    """Find the tiles of a cached scene that are most like a text, or like the tiles at some points.

    Args:
        cache: made by `embed_scene` or `map_scene(..., cache=...)`.
        text: a name or phrase; compared by attributes.
        like_xy: a point, or several, whose tiles are the examples: each tile is compared by embedding to the mean
            of theirs (unit vectors). The examples are among what is found.
        like_crs: CRS of the points; default: the scene's.
        top: how many tiles.
        attributes: CSV of attribute rows, one of them for `text`, that override what it means.
        output: a GeoPackage for them (layer `similar`), or None.
        model: as in `relabel`; not needed with `like_xy`.
        device: where the model's text side is loaded.
        trust_pickle: as in `load_model`.
        overwrite: replace an existing output.

    Returns:
        `(tile_id, similarity)`, best first; similarity is a cosine in -1..1.

    Raises:
        OptionError: unless just one of `text` and `like_xy` is given, or where a point has no tile.
        CacheError: where the cache is damaged or of another model.
        OutputError: where the output cannot be written.
    """
    points = np.atleast_2d(np.asarray([] if like_xy is None else like_xy, dtype="float64"))
    if (text is None) == (points.size == 0):
        raise OptionError("give either a text or --like x,y to search for")
    if text is not None and not text.strip():
        raise OptionError('the text to search for is empty; name a thing, as in rszsl search CACHE "solar farm"')
    opened = open_cache(Path(cache))
    if output is not None:
        check_output(Path(output), overwrite=overwrite)
    if text is not None:
        loaded = _model_of(opened, model, MapOptions(device=device, trust_pickle=trust_pickle))
        similarity = _similarities(opened, "attributes", _meaning_of(text, loaded, attributes))
    else:
        similarity = _similarities(opened, "embedding", _embedding_at(opened, points, like_crs))
    best = np.argsort(-similarity, kind="stable")[:top]
    best = best[np.isfinite(similarity[best])]
    if output is not None:
        _write_similar(opened, best, similarity[best], Path(output))
    return [(int(opened.tile_ids[i]), float(similarity[i])) for i in best]


def _model_of(cache: Cache, model: str | Model | None, options: MapOptions) -> Model:
    loaded = loaded_model(model, cache.key.model, options)
    if loaded.card.sha256 != cache.key.model_sha256:
        raise CacheError(
            f"{cache.path} was made with another {cache.key.model} (sha256 {cache.key.model_sha256[:12]}…) than "
            f"{loaded.card.name} ({loaded.card.sha256[:12]}…); make it again with rszsl embed"
        )
    return loaded


def _meaning_of(text: str, model: Model, attributes: str | Path | None) -> NDArray[np.float32]:
    own = Path(attributes) if attributes is not None else None
    row: NDArray[np.float32] = find_meaning(model, as_classes([text]), attributes=own).rows.rows[0]
    return row


def _similarities(cache: Cache, column: str, row: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cosine of each tile to `row` (n,), -inf where the tile was not encoded."""
    parts = [
        np.where(tiles.encoded, getattr(tiles, column).astype("float32") @ row, -np.inf)
        for tiles in cache.batches(column)
    ]
    return np.concatenate(parts).astype("float32")


def _embedding_at(cache: Cache, points: NDArray[np.float64], crs: str | None) -> NDArray[np.float32]:
    """Mean direction (n,) of the tiles at `points` (m, 2), each tile a unit vector and counted once a point."""
    embedding: NDArray[np.float32] = np.concatenate([t.embedding for t in cache.batches("embedding")]).astype("float32")
    tree = shapely.STRtree(cell_polygons(cache.key.grid, cache.key.affine)[cache.tile_ids])
    rows = []
    for xy, (x, y) in zip(_in_scene_crs(cache, points, crs), points, strict=True):
        hits = np.sort(tree.query(shapely.Point(xy), predicate="intersects"))
        encoded = [i for i in hits if embedding[i].any()]
        if not encoded:
            meant = crs or "the scene's CRS"
            raise OptionError(f"--like {x:.12g},{y:.12g} has no labelled tile of {cache.key.scene} (in {meant})")
        rows.append(embedding[encoded[0]] / np.linalg.norm(embedding[encoded[0]]))
    mean = np.mean(rows, axis=0)
    direction: NDArray[np.float32] = (mean / max(float(np.linalg.norm(mean)), EPSILON)).astype("float32")
    return direction


def _in_scene_crs(cache: Cache, points: NDArray[np.float64], crs: str | None) -> NDArray[np.float64]:
    """Points (m, 2) as x, y of the scene's CRS; infinite where PROJ cannot bring them there."""
    if crs is None:
        return points
    try:
        there = Transformer.from_crs(CRS.from_user_input(crs), cache.key.pyproj_crs, always_xy=True)
    except CRSError as err:
        raise OptionError(f'--like-crs "{crs}" is no CRS that PROJ knows; give one like EPSG:4326') from err
    return np.stack(there.transform(points[:, 0], points[:, 1]), axis=1)


def _write_similar(cache: Cache, chosen: NDArray[np.int64], similarity: NDArray[np.float32], path: Path) -> None:
    ids = cache.tile_ids[chosen]
    table = similar_table(ids, cache.key.grid, cache.key.affine, similarity)
    write_layer(table, cache.key.pyproj_crs, path, "similar", qml=similar_qml())
