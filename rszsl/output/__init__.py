"""Results: tables of tiles and regions, styles, and the one writer of vector files."""
