"""Pictures of results: each a function from arrays to a PNG. They need the extra `rszsl[train]`."""
