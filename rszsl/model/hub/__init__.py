"""CLIP-like models from elsewhere: transformers and open_clip, from a folder, the local cache or a hub."""
