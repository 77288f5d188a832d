"""Fine-tuning of a CLIP on pictures with captions."""
