"""Models: what a tile shows, as an embedding and attribute scores; what a name means, as an attribute row."""
