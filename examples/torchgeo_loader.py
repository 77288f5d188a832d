"""Tile a scene with rszsl's torchgeo dataset and sampler, and a plain DataLoader.

usage: python examples/torchgeo_loader.py SCENE
"""

import sys

from torch.utils.data import DataLoader

from rszsl import SceneDataset, TileSampler


def main() -> None:
    dataset = SceneDataset(sys.argv[1])
    sampler = TileSampler(dataset, size_px=256, out_px=128, overlap=0.25)
    tiles = valid = 0
    for batch in DataLoader(dataset, sampler=sampler, batch_size=16, num_workers=2):
        tiles += len(batch["image"])  # float32 (N, 3, 128, 128) in 0..1
        valid += int(batch["valid"].sum())  # bool (N, 128, 128)
    print(f"{tiles} tiles of {dataset.scene.gsd.mean_m:.2f} m pixels, {valid} valid pixels")


if __name__ == "__main__":
    main()
