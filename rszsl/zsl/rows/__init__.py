"""Class rows: where the semantic side of a zero-shot problem comes from. Every provider gives a `ClassTable`."""
