"""Many scenes, in this process or over a Dask cluster.

A scene is a unit of work; a large one is cut into strips of tile rows, each a unit. Workers open the scene by path
and send back labels (some 30 bytes a tile, as Arrow); the one writer, where the command runs, makes regions and
files. A manifest (SQLite) remembers every scene and strip, so the same command goes on where it stopped.

    scenes -> Manifest -> Runner -> Pool (this process, or Dask) -> labels -> Sink -> files
"""
