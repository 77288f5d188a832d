"""Token backbones ("towers"): any timm ViT, or the CLIP vision tower, behind one interface."""
