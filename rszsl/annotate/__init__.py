"""Classes described by machine: a class-attribute matrix from pictures, a vocabulary and an image-text model."""
