"""Training objectives: modules from a batch to one loss, as data-parallel wrappers require."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..models.positions import sine_cosine
from ..models.transformer import SpectrogramTransformer, Watch
from ..pruning.context import Context
from ..pruning.plan import Plan
from ..pruning.stage import Stage
from ..pruning.tokens import Tokens
from .alignment import Alignment


class Supervised(nn.Module):
    """Classification, with pruning, auxiliary losses and perhaps a teacher's logits.

    Args:
        criterion: "bce" or "ce".
        smoothing: of labels, for "ce".
        share: fraction of the teacher's term in the loss; temperature: both sides' logits are
            divided by it.
    """

    def __init__(
        self,
        model: SpectrogramTransformer,
        criterion: str,
        smoothing: float = 0.0,
        share: float = 0.0,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        self.model = model
        self.criterion, self.smoothing = criterion, smoothing
        self.share, self.temperature = share, temperature

    def forward(
        self,
        features: Tensor,
        valid: Tensor,
        targets: Tensor,
        weights: Tensor,
        keep_rate: float,
        keep: Tensor | None = None,
        teacher: Tensor | None = None,
    ) -> Tensor:
        """The loss of a batch, summed over clips by their weights.

        Terms that a score or reduction appends to `context.losses` are added.

        Args:
            features, valid, keep_rate, keep: as the transformer's `forward`.
            targets: (batch, classes) share of each class.
            weights: (batch,) of each clip.
            teacher: (batch, classes) logits to imitate.
        """
        plan = self.model.plan.with_keep_rate(keep_rate)
        logits, auxiliary = self._logits(features, valid, keep, plan)
        return _summed(self._losses(logits, targets, teacher), weights, auxiliary)

    def _logits(
        self,
        features: Tensor,
        valid: Tensor,
        keep: Tensor | None,
        plan: Plan,
        extra_watch: Watch | None = None,
    ) -> tuple[Tensor, list[Tensor]]:
        """(batch, classes) logits of a pass, float32, and its auxiliary losses.

        Args:
            extra_watch: a second `Watch`, called after the first.
        """
        auxiliary: list[Tensor] = []

        def watch(tokens: Tokens, context: Context, stage: Stage | None, remaining: Tokens) -> None:
            auxiliary.extend(context.losses)
            if extra_watch is not None:
                extra_watch(tokens, context, stage, remaining)

        tokens = self.model.encode(features, valid, keep=keep, watch=watch, plan=plan)
        return self.model.head(self.model.pool(tokens)).float(), auxiliary

    def _losses(self, logits: Tensor, targets: Tensor, teacher: Tensor | None) -> Tensor:
        """(batch,) losses against the labels and, for its share, the teacher."""
        losses = classification(logits, targets, self.criterion, self.smoothing)
        if teacher is None:
            return losses
        imitation = distillation(logits, teacher, self.criterion, self.temperature)
        return losses * (1 - self.share) + self.share * imitation


class Elastic(Supervised):
    """Classification without pruning, and pruned passes that imitate it; see `elastic`.

    Args:
        model, criterion, smoothing, share, temperature: as in `Supervised`; the teacher teaches the
            unpruned pass only.
        distil: weight of each pruned pass's divergence from the unpruned pass.
        label_weight: weight of each pruned pass's loss with the labels.
        align: weight of the divergence of the ranking attention; see `alignment`.
    """

    def __init__(
        self,
        model: SpectrogramTransformer,
        criterion: str,
        smoothing: float = 0.0,
        share: float = 0.0,
        temperature: float = 1.0,
        *,
        distil: float = 1.0,
        label_weight: float = 0.0,
        align: float = 0.0,
    ) -> None:
        super().__init__(model, criterion, smoothing, share, temperature)
        self.distil, self.label_weight, self.align = distil, label_weight, align

    def forward(
        self,
        features: Tensor,
        valid: Tensor,
        targets: Tensor,
        weights: Tensor,
        keep_rate: float = 1.0,
        keep: Tensor | None = None,
        teacher: Tensor | None = None,
        plans: Sequence[Plan] = (),
    ) -> Tensor:
        """The sum of the losses of all passes.

        One call computes all of them, because a data-parallel wrapper exchanges gradients once
        per call.

        Args:
            features, valid, targets, weights, keep, teacher: as in `Supervised`.
            keep_rate: of the pass that the others imitate.
            plans: of the pruned passes.
        """
        full = self.model.plan.with_keep_rate(keep_rate)
        alignment = None
        if self.align and plans:
            blocks = [stage.at for stage in full.stages]
            alignment = Alignment(blocks, self.model.grid.count)
        watch = None if alignment is None else alignment.watch_unpruned
        logits, auxiliary = self._logits(features, valid, keep, full, watch)
        loss = _summed(self._losses(logits, targets, teacher), weights, auxiliary)
        # Without a gradient: otherwise the unpruned model would also learn from the pruned ones.
        goal = logits.detach()
        watch = None if alignment is None else alignment.watch_pruned
        for plan in plans:
            logits, auxiliary = self._logits(features, valid, keep, plan, watch)
            losses = self.distil * distillation(logits, goal, self.criterion, 1.0)
            if self.label_weight:
                by_labels = classification(logits, targets, self.criterion, self.smoothing)
                losses = losses + self.label_weight * by_labels
            loss = loss + _summed(losses, weights, auxiliary)
        if alignment is not None:
            loss = loss + self.align * (weights * alignment.losses()).sum()
        return loss


def _summed(losses: Tensor, weights: Tensor, auxiliary: Sequence[Tensor]) -> Tensor:
    """(batch,) losses by the weights of their clips, and the auxiliary losses of the batch."""
    loss = (weights * losses).sum()
    return loss + weights.sum() * torch.stack(list(auxiliary)).sum() if auxiliary else loss


def classification(
    logits: Tensor, targets: Tensor, criterion: str, smoothing: float = 0.0
) -> Tensor:
    """(batch, classes) logits and shares to (batch,) losses; "bce" is the mean over classes."""
    if criterion == "bce":
        losses = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        return losses.mean(1)
    return functional.cross_entropy(logits, targets, reduction="none", label_smoothing=smoothing)


def distillation(logits: Tensor, teacher: Tensor, criterion: str, temperature: float) -> Tensor:
    """(batch,) divergence from a teacher's softened outputs, times temperature squared.

    "ce": Kullback-Leibler of the softmaxes (Hinton et al., arXiv 1503.02531); "bce": binary
    cross-entropy against the teacher's sigmoids, mean over classes.
    """
    logits, teacher = logits / temperature, teacher.float() / temperature
    if criterion == "bce":
        losses = classification(logits, teacher.sigmoid(), "bce")
    else:
        pair = logits.log_softmax(1), teacher.log_softmax(1)
        losses = functional.kl_div(*pair, reduction="none", log_target=True).sum(1)
    return losses * temperature**2


class MaskedAutoEncoder(nn.Module):
    """Predict hidden patches from the visible ones (MAE, arXiv 2111.06377; AudioMAE).

    The decoder is a plain pre-norm transformer over all patches with fixed sine-cosine
    positions; it is discarded after pre-training.
    """

    def __init__(self, model: SpectrogramTransformer, width: int, depth: int, heads: int) -> None:
        super().__init__()
        config = model.config
        self.model = model
        self.norm = nn.LayerNorm(config.width, config.eps)
        self.embed = nn.Linear(config.width, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        nn.init.normal_(self.mask_token, std=0.02)
        self.positions = nn.Parameter(
            sine_cosine(config.grid, width, config.num_prefix_tokens), requires_grad=False
        )
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True,
            norm_first=True,
        )  # fmt: skip
        self.decoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.decoder_norm = nn.LayerNorm(width)
        self.predict = nn.Linear(width, config.grid.patch_size)
        # Not trained here: a classifier creates its own head.
        for module in (model.head, model.head_norm, model.norm):
            module.requires_grad_(False)

    def forward(self, features: Tensor, valid: Tensor, weights: Tensor, keep: Tensor) -> Tensor:
        """The loss of a batch: mean squared error, each patch normalised by its own values.

        Only hidden patches that contain sound count.

        Args:
            keep: (batch, patches) bool: the patches that the encoder processes; the same number in
                each clip.
            weights: (batch,) of each clip.
        """
        grid = self.model.config.grid
        guessed = self.guess(features, valid, keep)
        patches = grid.cut(features.float())
        variance, mean = torch.var_mean(patches, 2, keepdim=True)
        normalised = (patches - mean) / (variance + 1e-6).sqrt()
        error = (guessed - normalised).square().mean(2)
        counts = (~keep & grid.hold_sound(valid)).float()
        losses = (error * counts).sum(1) / counts.sum(1).clamp(min=1)
        return (weights * losses).sum()

    def guess(self, features: Tensor, valid: Tensor, keep: Tensor) -> Tensor:
        """(batch, patches, 256) normalised values of all patches, float32."""
        tokens = self.model.encode(features, valid, keep=keep)
        visible = self.embed(self.norm(tokens.x))
        width, num_prefix_tokens = visible.shape[2], tokens.num_prefix_tokens
        patches = self.mask_token.expand(len(visible), keep.shape[1], -1).to(visible.dtype)
        places = tokens.origin[..., None].expand(-1, -1, width)
        patches = patches.scatter(1, places, visible[:, num_prefix_tokens:])
        x = torch.cat([visible[:, :num_prefix_tokens], patches], 1) + self.positions
        return self.predict(self.decoder_norm(self.decoder(x)))[:, num_prefix_tokens:].float()
