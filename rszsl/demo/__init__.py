"""The demo: a painted aerial scene to map, its true zones, and a picture of the result."""
