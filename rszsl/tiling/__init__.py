"""Scenes as torchgeo sees them: a dataset, a sampler that loses no pixel, and a loader that reads ahead."""

from rszsl.slow_imports import in_part, without_collector

_TORCHGEO = {
    "torchvision": (),
    "torchvision.datasets": ("folder", "utils"),
    "torchgeo.datasets": ("geo", "utils"),
}
"""Where torchgeo's base classes are, and what they take from torchvision."""

with without_collector(), in_part(_TORCHGEO):
    from rszsl.tiling.dataset import SceneDataset
    from rszsl.tiling.loader import TileBatch, load_tiles
    from rszsl.tiling.sampler import TileSampler

__all__ = ["SceneDataset", "TileBatch", "TileSampler", "load_tiles"]
