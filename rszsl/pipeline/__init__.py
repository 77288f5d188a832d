"""From a scene to a file of labelled polygons: scene -> grid -> tiles -> encoder -> scores -> labels -> polygons.

`map_scene` does it all; `embed_scene`, `relabel` and `search` go by way of a cache. The parts (`plan_scene`,
`encode_tiles`, `label_batches`, `write_map`) are there for other runners.
"""

from rszsl.slow_imports import without_collector

with without_collector():  # torch among them
    from rszsl.pipeline.caching import embed_scene, relabel, search
    from rszsl.pipeline.encoding import encode_tiles
    from rszsl.pipeline.labelling import MapResult, label_batches, make_result, summary, write_map
    from rszsl.pipeline.mapping import map_scene, map_with
    from rszsl.pipeline.plan import Footing, ScenePlan, default_cache, default_output, plan_rows, plan_scene

__all__ = [
    "Footing",
    "MapResult",
    "ScenePlan",
    "default_cache",
    "default_output",
    "embed_scene",
    "encode_tiles",
    "label_batches",
    "make_result",
    "map_scene",
    "map_with",
    "plan_rows",
    "plan_scene",
    "relabel",
    "search",
    "summary",
    "write_map",
]
