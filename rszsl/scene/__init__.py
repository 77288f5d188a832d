"""Scenes: the grid of tiles (integers), georeferencing, radiometry, areas of interest, and the one reader."""
