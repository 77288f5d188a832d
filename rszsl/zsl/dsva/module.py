"""DSVA as a Lightning module: tokens or pixels in, losses and schedule of a recipe (METHOD B.5 to B.7)."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import lightning
import torch
from torch import Tensor

from rszsl.errors import TrainingError
from rszsl.model.heads import DsvaHeads, HeadsOutput, compatibility
from rszsl.model.towers.tower import Tower
from rszsl.zsl.dsva.concentration import concentrate, crop, inside
from rszsl.zsl.dsva.losses import anchor_loss, class_loss, compactness_loss, group_penalty
from rszsl.zsl.dsva.recipe import DsvaRecipe

DECAY_EVERY = 10
"""Epochs between two steps of the learning rate."""


class DsvaModule(lightning.LightningModule):
    """Trains the heads, and the tower where there is one.

    A batch is `(x, truth)`: x pixels (N, 3, P, P) with a tower, tokens (N, T, D) without; truth int64 (N,), rows of
    `rows`.
    """

    rows: Tensor

    def __init__(
        self,
        heads: DsvaHeads,
        recipe: DsvaRecipe,
        rows: Tensor,
        groups: Sequence[Sequence[int]],
        tower: Tower | None = None,
        side_px: int = 224,
    ) -> None:
        """Join the parts.

        Args:
            heads: started and calibrated.
            recipe: losses and schedule.
            rows: (C, K), of the classes that are trained on.
            groups: columns of each attribute group; without any, nothing is looked at twice.
            tower: gives the tokens; None where they are cached.
            side_px: of the tower's input.
        """
        super().__init__()
        self.heads, self.recipe, self.tower, self.groups, self.side_px = heads, recipe, tower, groups, side_px
        self.register_buffer("rows", rows)
        anchors = [heads.global_head.weight.detach().clone(), heads.prototypes.detach().clone()]
        self.anchors = anchors if self.recipe.anchor else []
        self.output = "global"
        self.origin: dict[str, Any] = {}
        """Seeds and hashes of what is trained on; a checkpoint of another origin is refused."""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save which output of the heads is reported, its anchors, and where it comes from."""
        checkpoint["output"], checkpoint["anchors"] = self.output, [a.cpu() for a in self.anchors]
        checkpoint["origin"] = self.origin

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take them back.

        Raises:
            TrainingError: where the checkpoint is of other data or seeds.
        """
        if (origin := checkpoint.get("origin", self.origin)) != self.origin:
            odd = next(key for key in {**origin, **self.origin} if origin.get(key) != self.origin.get(key))
            raise TrainingError(
                f"the last checkpoint has another {odd} than this training: the images or the recipe changed since; "
                "remove its folder, or give this training another name"
            )
        self.output, self.anchors = checkpoint["output"], checkpoint["anchors"]

    def forward(self, x: Tensor) -> HeadsOutput:
        """Score a batch, first look."""
        return self.heads(self._tokens(x))  # type: ignore[no-any-return]

    def _tokens(self, x: Tensor) -> Tensor:
        return x if self.tower is None else self.tower.tokens(x, aligned=self.recipe.centred)

    def training_step(self, batch: tuple[Tensor, Tensor], _index: int) -> Tensor:
        """Add up the loss of a batch.

        Raises:
            TrainingError: where it is no number.
        """
        x, truth = batch
        tokens = self._tokens(x)
        out: HeadsOutput = self.heads(tokens)
        loss = self._loss(out, self._second_look(x, tokens, out), truth)
        if not torch.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss.item()} at epoch {self.current_epoch}: lower the learning rate; "
                "the last checkpoint is kept as it was"
            )
        self.log("loss", loss, on_step=False, on_epoch=True, prog_bar=True, batch_size=len(truth))
        return loss

    def _loss(self, out: HeadsOutput, again: Tensor | None, truth: Tensor) -> Tensor:
        recipe, rows = self.recipe, self.rows
        wanted = rows[truth]
        final = compatibility(out.global_scores, rows, centred=recipe.centred)
        terms = []
        if again is not None:
            proposal = compatibility(again, rows, centred=recipe.centred)
            final = final + proposal
            terms.append(recipe.proposal_weight * class_loss(proposal, truth, recipe))
        local = compatibility(out.local_scores, rows, centred=recipe.centred)
        terms += [
            recipe.xe_global * class_loss(final, truth, recipe),
            recipe.xe_local * class_loss(local, truth, recipe),
            recipe.regression_global * self._regression(out.global_scores, wanted),
            recipe.regression_local * self._regression(out.local_scores, wanted),
            recipe.group_local * group_penalty(self.heads.prototypes, self.groups),
            recipe.group_global * group_penalty(self.heads.global_head.weight, self.groups),
        ]
        if self.current_epoch >= recipe.heads_epochs:
            terms.append(recipe.compactness * compactness_loss(out.maps))
        if self.anchors:
            weights = (self.heads.global_head.weight, self.heads.prototypes)
            terms.append(recipe.anchor * anchor_loss(weights, [a.to(self.device) for a in self.anchors]))
        return torch.stack(terms).sum()

    def _regression(self, scores: Tensor, wanted: Tensor) -> Tensor:
        # Centred rows have unit length; scores of unit spread are brought to it.
        scores = torch.nn.functional.normalize(scores, dim=-1) if self.recipe.centred else scores
        return torch.nn.functional.mse_loss(scores, wanted)

    def _second_look(self, x: Tensor, tokens: Tensor, out: HeadsOutput) -> Tensor | None:
        """Score the part of each image where its most telling attributes are seen; None where that is off."""
        recipe = self.recipe
        if self.current_epoch < recipe.concentration_from or not self.groups:
            return None
        boxes = concentrate(out.maps, out.local_scores, self.groups, self.side_px, recipe.threshold)
        if self.tower is not None:
            seen = self._tokens(crop(x, boxes))
            return self.heads.from_pooled(self.heads.pool(seen) if recipe.centred else seen.amax(1))
        mask = inside(boxes, self.heads.grid, self.side_px).to(tokens.device)
        patches = tokens[:, self.heads.prefix :]
        if recipe.centred:  # the CLS token moved by what sets the part off from the whole
            part = (patches * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
            return self.heads.from_pooled(self.heads.pool(tokens) + part - patches.mean(1))
        return self.heads.from_pooled(patches.masked_fill(~mask[..., None], float("-inf")).amax(1))

    def on_train_epoch_start(self) -> None:
        """Set what is trained this epoch, and its learning rate."""
        recipe, epoch = self.recipe, self.current_epoch
        heads_only = epoch < recipe.heads_epochs
        if self.tower is not None:
            self.tower.requires_grad_(not heads_only)
            self.tower.train(not heads_only)
        self.heads.norm.requires_grad_(not heads_only)
        optimizer: Any = self.optimizers()
        rate = recipe.heads_lr if heads_only else recipe.lr * recipe.lr_decay ** (epoch // DECAY_EVERY)
        for group in optimizer.param_groups:
            group["lr"] = rate
        if recipe.reset_optimizer:
            optimizer.optimizer.state = defaultdict(dict)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam over everything; what is not trained has no gradient."""
        return torch.optim.Adam(self.parameters(), lr=self.recipe.heads_lr, betas=self.recipe.betas)
