"""One transformer for every backbone, with the loop that prunes tokens."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..audio.channels import MIX, Channel
from ..audio.decode import Sound
from ..audio.precision import float32_product
from ..common.errors import SpectrimError
from ..pruning.context import Clips, Context
from ..pruning.plan import Plan
from ..pruning.stage import Stage
from ..pruning.tokens import Tokens
from .block import Block
from .compiled import CompiledForward, compiled_forward
from .config import ModelConfig
from .features import FeatureExtraction, checked_valid
from .has_recommendation import Recommended, check_blocks
from .layers import head_norm, initialise, layer_norm
from .lengths import Lengths
from .loading.native import save_native
from .normalise import Normalise
from .trace import Trace, new_trace

Watch = Callable[[Tokens, Context, Stage | None, Tokens], None]
"""Called at the input and in each block: tokens before the stage, context, stage, tokens after."""


class SpectrogramTransformer(FeatureExtraction, Lengths, Recommended, nn.Module):
    """An audio spectrogram transformer with an optional pruning plan.

    Attributes:
        config: the settings of the model.
        plan: the stages that prune; immutable. `with_plan` returns a model with another plan.
        compiled: what `compile` made; None: PyTorch runs the operations one by one.
    """

    compiled: CompiledForward | None = None

    def __init__(self, config: ModelConfig, plan: Plan | None = None) -> None:
        super().__init__()
        self.config = config
        self.grid = config.grid
        self.filterbank = config.audio.filter_bank(config.mels)
        self.normalise = Normalise(config)
        # Features are (frames, mels): time first.
        self.patch = nn.Conv2d(1, config.width, config.patch[::-1], stride=config.stride[::-1])
        count = config.num_prefix_tokens + self.grid.count
        self.prefix_tokens = nn.Parameter(torch.zeros(1, config.num_prefix_tokens, config.width))
        self.positions = nn.Parameter(
            torch.zeros(1, count, config.width), requires_grad=config.learned_positions
        )
        self.embedding_norm = layer_norm(config) if config.norm_after_embedding else nn.Identity()
        blocks = [
            Block(config.width, config.heads, config.eps, config.norm_first)
            for _ in range(config.depth)
        ]
        self.blocks = cast("Sequence[Block]", nn.ModuleList(blocks))
        self.norm = layer_norm(config) if config.has_last_norm else nn.Identity()
        self.head_norm = head_norm(config)
        self.head = nn.Linear(config.width, len(config.labels))
        initialise(self)
        self._adopt(plan or Plan())

    @property
    def labels(self) -> list[str]:
        """Names of the classes, in the order of the logits."""
        return list(self.config.labels)

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.prefix_tokens.device

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the weights; filter bank and scores are always float32."""
        return self.prefix_tokens.dtype

    def forward(
        self,
        features: Tensor,
        valid: Tensor | None = None,
        *,
        keep_rate: float | Sequence[float] | None = None,
        keep: Tensor | None = None,
        keep_after: int = 0,
    ) -> Tensor:
        """(batch, frames, mels) normalised log-mel to (batch, classes) logits, float32.

        Args:
            features: as `features` returns them.
            valid: (batch,) number of frames that contain sound; None: all of them.
            keep_rate: replaces the plan's keep rates in this pass; one, or one per stage.
            keep: (batch, patches) bool: drop all other patches, in addition to the plan. If the
                clips keep different numbers, surplus tokens are masked (see `Tokens.only`).
            keep_after: number of blocks that process every patch before `keep` is applied;
                0 applies it before the first block.

        Raises:
            SpectrimError: a wrong shape; a clip without any patch left.
        """
        if (model := self._of_features(features)) is not self:
            return model(features, valid, keep_rate=keep_rate, keep=keep, keep_after=keep_after)
        is_eager = self.training or keep_rate is not None or keep is not None
        if self.compiled is not None and not is_eager:
            return self.compiled(features, checked_valid(features, valid, self.config))
        tokens = self.encode(features, valid, keep_rate=keep_rate, keep=keep, keep_after=keep_after)
        return self.head(self.pool(tokens)).float()

    def probabilities(self, logits: Tensor) -> Tensor:
        """(batch, classes) logits to probabilities, by the config's activation."""
        softmax = self.config.activation == "softmax"
        return logits.softmax(1) if softmax else logits.sigmoid()

    def embed(
        self,
        features: Tensor | Iterable[Sound] | Sound,
        valid: Tensor | None = None,
        channel: Channel = MIX,
    ) -> Tensor:
        """Features or sounds to (batch, width), the input of the linear head.

        Args:
            features: as `features` returns them, or sounds as it takes them.
            valid: of features, as for `forward`; channel: of sounds, as for `features`.
        """
        if not isinstance(features, Tensor):
            features, valid = self.features(features, channel)
        model = self._of_features(features)
        return model.pool(model.encode(features, valid))

    def trace(
        self,
        features: Tensor,
        valid: Tensor | None = None,
        score: str | None = None,
        keep: Tensor | None = None,
        keep_after: int = 0,
    ) -> Trace:
        """Logits, the scores in every block, and the positions of the kept patches.

        Args:
            score: the score to record in every block. None: the score of the block's stage; in
                blocks without one the first stage's score ("attention" for an empty plan).
        """
        if (model := self._of_features(features)) is not self:
            return model.trace(features, valid, score, keep, keep_after)
        trace = new_trace(self.plan, self.grid, score)
        tokens = self.encode(
            features,
            valid,
            keep=keep,
            keep_after=keep_after,
            watch=trace.watch,
            watch_after=trace.place == "after",
        )
        return trace.finish(self.head(self.pool(tokens)).float())

    def encode(
        self,
        features: Tensor,
        valid: Tensor | None = None,
        *,
        keep_rate: float | Sequence[float] | None = None,
        keep: Tensor | None = None,
        keep_after: int = 0,
        watch: Watch | None = None,
        watch_after: bool = False,
        plan: Plan | None = None,
        start: tuple[int, Tokens] | None = None,
        stop: int | None = None,
    ) -> Tokens:
        """Features to the tokens after the last block, pruned by the plan.

        Plans over the same weights share the blocks before their first stages: one pass computes
        them with `stop`, and each plan continues with `start`.

        Args:
            watch: called at the input, between the halves of each block, wherever a stage stands,
                and with `watch_after` after each block.
            plan: replaces the model's in this pass.
            start: a number of blocks and the tokens that come out of them; those blocks, the
                input stage and `keep` are not applied again.
            stop: number of blocks to run, the first ones; None: all of them.

        The other arguments are those of `forward`.
        """
        plan = self.plan if plan is None else plan
        plan = plan if keep_rate is None else plan.with_keep_rate(keep_rate)
        clips = self._clips(features, valid, plan)
        self._check_keep(clips, keep, keep_after)
        done, tokens = start or (0, self.tokenize(features))
        if start is None and plan.drop_padding:
            tokens = tokens.only(self.grid.hold_sound(clips.valid.clamp(min=1)))
        if start is None and keep is not None and keep_after == 0:
            tokens = tokens.only(keep)
        if start is None and (first := plan.at("input")):
            tokens = self._prune(first, tokens, Context(clips, tokens, "input"), watch)
        for index, block in enumerate(self.blocks):
            if index < done or (stop is not None and index >= stop):
                continue
            if first := plan.at(index, "before"):
                tokens = self._prune(
                    first, tokens, Context(clips, tokens, index, place="before"), watch
                )
            stage = plan.at(index)
            explicit = stage is not None and stage.needs_attention_map(
                tokens.count, tokens.num_prefix_tokens, clips.has_class_token
            )
            tokens, context = block.attend(tokens, clips, index, explicit)
            tokens = self._prune(stage, tokens, context, watch)
            before = tokens
            tokens = block.transform(tokens)
            last = plan.at(index, "after")
            if last or (watch and watch_after):
                context = context.after_mlp(before, tokens)
                tokens = self._prune(last, tokens, context, watch)
            if keep is not None and index + 1 == keep_after:
                tokens = tokens.only(keep)
        return tokens

    @staticmethod
    def _prune(
        stage: Stage | None, tokens: Tokens, context: Context, watch: Watch | None
    ) -> Tokens:
        # At keep rate 1.0 nothing is ranked or moved: the model equals the unpruned one exactly.
        if stage is None or not stage.acts(tokens.count, tokens.num_prefix_tokens):
            left = tokens
        else:
            left = stage(tokens, context)
        if watch:
            watch(tokens, context, stage, left)
        return left

    def tokenize(self, features: Tensor) -> Tokens:
        """(batch, frames, mels) to prefix tokens and patches, positions added."""
        features = features.to(self.dtype)
        if features.is_cuda and not torch.compiler.is_exporting():
            # The same numbers as a product: cuDNN convolves float32 in TF32 unless it is forbidden.
            product = float32_product(self.grid.cut(features), self.patch.weight.flatten(1).T)
            patches = product + cast("Tensor", self.patch.bias)
        else:
            patches = self.grid.flatten(self.patch(features[:, None]).permute(0, 2, 3, 1))
        # shape[0] rather than len(), here and below: an exporter would fix the batch.
        prefix_tokens = self.prefix_tokens.expand(features.shape[0], -1, -1)
        x = self.embedding_norm(torch.cat([prefix_tokens, patches], 1) + self.positions)
        origin = torch.arange(self.grid.count, device=x.device).expand(features.shape[0], -1)
        return Tokens(x, self.config.num_prefix_tokens, origin)

    def pool(self, tokens: Tokens) -> Tensor:
        """Tokens to (batch, width), normalised: the input of the linear head."""
        if self.config.has_class_token:
            return self.head_norm(self.norm(tokens.x[:, : tokens.num_prefix_tokens]).mean(1))
        patches = self.norm(tokens.patches)
        if (weights := tokens.weights()) is None:
            return self.head_norm(patches.mean(1))
        weighted = (patches * weights[..., None]).sum(1)
        return self.head_norm(weighted / weights.sum(1, keepdim=True))

    def with_plan(self, plan: Plan) -> SpectrogramTransformer:
        """Return a model with the same weights and another plan; this model keeps its own.

        Parameters are shared: a move to another device or dtype affects both models. Modules are
        not shared: each model has its own train or eval mode.
        """
        # deepcopy takes what its memo holds for the copy: with memo[id(x)] = x for every parameter,
        # modules are new and parameters are not. Buffers of learned parts lie in a shared dict.
        buffers = [module._buffers for module in self.learned.modules()]
        shared = [self.config, self.filterbank, *buffers, *self.parameters()]
        plans = [self.plan, self._recommendation]
        memo: dict[int, Any] = {id(value): value for value in [*plans, *shared]}
        model = copy.deepcopy(self, memo | {id(self.compiled): None, id(self._shorter): None})
        learned = list(self.learned)
        if any(module in learned for module in plan.modules()):
            # The new plan uses a learned part of this model: the other model needs a module of its
            # own over the same parameters. Parts that this model does not hold stay as they are.
            others = [module for module in plan.modules() if module not in learned]
            plan = copy.deepcopy(plan, {id(value): value for value in [*others, *shared]})
        model._adopt(plan)
        return model

    def compile(self, **options: Any) -> None:
        """Compile `forward` for inference, in place: eval mode, without gradients.

        The first call with a batch size compiles. `compiled` reports the seconds. `encode`,
        `trace`, `embed` and a forward pass with `keep_rate` or `keep` stay uncompiled, and so do
        models that `prune` and `with_plan` return.

        Args:
            options: of `torch.compile`. The default mode on CUDA is "reduce-overhead".

        Raises:
            SpectrimError: this machine has no compiler.
        """
        self.compiled = compiled_forward(self, **options)

    def set_drop_path(self, rate: float) -> None:
        """Set the drop-path rate: 0 in the first block, growing linearly to `rate` in the last."""
        for index, block in enumerate(self.blocks):
            block.drop_path = rate * index / max(1, self.config.depth - 1)

    def save(self, folder: str | os.PathLike[str], dtype: torch.dtype | None = None) -> Path:
        """Save weights, config, plan and recommended plan; `spectrim.load` reads the folder.

        Args:
            dtype: of the saved weights, for example torch.float16; None: unchanged.
        """
        weights = self.state_dict()
        return save_native(folder, self.config, self.plan, weights, dtype, self.recommendation)

    def _adopt(self, plan: Plan) -> None:
        check_blocks(plan, self.config.depth)
        self.plan = plan
        self.learned = nn.ModuleList(plan.modules()).train(self.training).to(self.device)

    def _clips(self, features: Tensor, valid: Tensor | None, plan: Plan) -> Clips:
        valid = checked_valid(features, valid, self.config)
        has_class_token = self.config.has_class_token
        return Clips(features, valid, self.grid, has_class_token, plan.seed, self.config.depth)

    def _check_keep(self, clips: Clips, keep: Tensor | None, keep_after: int) -> None:
        if keep is None:
            return
        expected = (len(clips.features), self.grid.count)
        if keep.shape != expected or keep.dtype != torch.bool:
            raise SpectrimError(
                f"keep is {keep.dtype} of shape {tuple(keep.shape)}; expected bool (batch, "
                f"patches) = {expected}."
            )
        if not isinstance(keep_after, int) or not 0 <= keep_after <= self.config.depth:
            raise SpectrimError(
                f"keep_after is {keep_after}; expected 0 to {self.config.depth} blocks."
            )
