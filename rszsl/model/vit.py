"""A CLIP image tower as a trunk: the first blocks of a ViT-B/16, whose tokens are given as maps."""

from functools import partial
from typing import cast

from torch import Tensor, nn

PATCH_PX, WIDTH, HEADS = 16, 768, 12


class VitTrunk(nn.Module):
    """Pixels (N, 3, P, P) to maps: the CLS token, (N, 768, 1, 1), and the patches, (N, 768, P / 16, P / 16).

    Args:
        input_px: P, a multiple of 16.
        depth: blocks (CLIP has 12).
    """

    map_widths: tuple[int, ...] = (WIDTH, WIDTH)

    def __init__(self, input_px: int, depth: int) -> None:
        super().__init__()
        from timm.models.vision_transformer import VisionTransformer

        self.vit = VisionTransformer(
            img_size=input_px,
            patch_size=PATCH_PX,
            embed_dim=WIDTH,
            depth=depth,
            num_heads=HEADS,
            num_classes=0,
            global_pool="",
            pre_norm=True,
            act_layer="quick_gelu",
            norm_layer=partial(nn.LayerNorm, eps=1e-5),
        )

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Give both maps."""
        return self.upper(self.lower(pixels))

    def embed(self, pixels: Tensor) -> Tensor:
        """Give the tokens that go into the first block: normalised pixels (N, 3, P, P) -> (N, 1 + (P / 16)^2, 768)."""
        return cast(Tensor, self.vit.norm_pre(self.vit._pos_embed(self.vit.patch_embed(pixels))))

    def lower(self, pixels: Tensor) -> Tensor:
        """Run what all folds share, all blocks: pixels -> tokens, both as in `embed`."""
        return cast(Tensor, self.vit.blocks(self.embed(pixels)))

    def upper(self, tokens: Tensor) -> list[Tensor]:
        """Run what each fold trains, the last norm: tokens, as `lower` gives them, to both maps."""
        tokens = self.vit.norm(tokens)
        side = self.vit.patch_embed.grid_size[0]
        patches = tokens[:, 1:].transpose(1, 2).reshape(len(tokens), WIDTH, side, side)
        return [tokens[:, 0, :, None, None], patches]

    def upper_parameters(self) -> list[nn.Parameter]:
        """List the parameters that each fold trains."""
        return list(self.vit.norm.parameters())
