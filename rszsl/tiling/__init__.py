"""Scenes as torchgeo sees them: a dataset, a sampler that loses no pixel, and a loader that reads ahead."""

from rszsl.slow_imports import defer_package, without_collector, without_compiler

with without_collector(), without_compiler():  # torchgeo among them, and the torchvision that it brings
    defer_package("torchgeo.datasets", "geo", "utils")
    from rszsl.tiling.dataset import SceneDataset
    from rszsl.tiling.loader import TileBatch, load_tiles
    from rszsl.tiling.sampler import TileSampler

__all__ = ["SceneDataset", "TileBatch", "TileSampler", "load_tiles"]
