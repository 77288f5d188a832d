"""Map one scene from Python and print its largest regions.

usage: python examples/map_scene.py SCENE "class,class"
"""

import sys

import rszsl


def main() -> None:
    scene, classes = sys.argv[1:3]
    result = rszsl.map_scene(scene, classes, overwrite=True)
    print(result.counts)
    regions = result.regions.sort_values("area_m2", ascending=False)
    print(regions[["class", "confidence_mean", "tiles", "area_m2"]].head(10).to_string(index=False))


if __name__ == "__main__":
    main()
