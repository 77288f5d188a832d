"""rszsl: map anything you can name.

    import rszsl
    result = rszsl.map_scene("scene.tif", "solar farm,quarry")
    print(result.counts, result.regions)

Names are imported when they are first used, so `import rszsl` is quick.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from rszsl.classes import ClassName
from rszsl.errors import (
    AnnotationError,
    AoiError,
    AoiMissError,
    BatchError,
    CacheError,
    ClassListError,
    ClusterError,
    ExamplesError,
    ModelError,
    OptionError,
    OutputError,
    RszslError,
    SceneError,
    TrainingError,
)

if TYPE_CHECKING:
    from rszsl.batch.mapping import map_scenes
    from rszsl.batch.result import BatchResult
    from rszsl.model.bundle import Model
    from rszsl.model.checkpoint import list_models, load_model
    from rszsl.options import MapOptions
    from rszsl.pipeline import MapResult, embed_scene, map_scene, relabel, search
    from rszsl.tiling import SceneDataset, TileSampler

__version__ = version("rszsl")

_LAZY = {
    "BatchResult": "rszsl.batch.result",
    "MapOptions": "rszsl.options",
    "MapResult": "rszsl.pipeline",
    "Model": "rszsl.model.bundle",
    "SceneDataset": "rszsl.tiling",
    "TileSampler": "rszsl.tiling",
    "embed_scene": "rszsl.pipeline",
    "list_models": "rszsl.model.checkpoint",
    "load_model": "rszsl.model.checkpoint",
    "map_scene": "rszsl.pipeline",
    "map_scenes": "rszsl.batch.mapping",
    "relabel": "rszsl.pipeline",
    "search": "rszsl.pipeline",
}

__all__ = [
    "AnnotationError",
    "AoiError",
    "AoiMissError",
    "BatchError",
    "BatchResult",
    "CacheError",
    "ClassListError",
    "ClassName",
    "ClusterError",
    "ExamplesError",
    "MapOptions",
    "MapResult",
    "Model",
    "ModelError",
    "OptionError",
    "OutputError",
    "RszslError",
    "SceneDataset",
    "SceneError",
    "TileSampler",
    "TrainingError",
    "embed_scene",
    "list_models",
    "load_model",
    "map_scene",
    "map_scenes",
    "relabel",
    "search",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'rszsl' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
