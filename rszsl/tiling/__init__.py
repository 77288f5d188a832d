"""Scenes as torchgeo sees them: a dataset, a sampler that loses no pixel, and a loader that reads ahead."""

from rszsl.slow_imports import without_collector

with without_collector():  # torchgeo among them
    from rszsl.tiling.dataset import SceneDataset
    from rszsl.tiling.loader import TileBatch, load_tiles
    from rszsl.tiling.sampler import TileSampler

__all__ = ["SceneDataset", "TileBatch", "TileSampler", "load_tiles"]
