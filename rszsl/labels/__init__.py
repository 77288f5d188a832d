"""From attribute scores to labels, in numpy: similarity, calibrated confidence, assignment, contributions."""
