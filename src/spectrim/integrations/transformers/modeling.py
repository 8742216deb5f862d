"""A pruned model as two models of transformers: with its head, and without."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from packaging.version import Version
from torch import Tensor
from transformers import PreTrainedModel
from transformers import __version__ as transformers_version
from transformers.modeling_outputs import BaseModelOutputWithPooling, SequenceClassifierOutput

from ...common.errors import SpectrimError, SpectrimNotice
from ...models.build import prune
from ...models.loading.native import TRANSFORMERS_PREFIX
from ...models.loading.unfilled import without_memory
from ...models.transformer import SpectrogramTransformer
from ...pruning.attention import attention_map
from ...pruning.context import Context
from ...pruning.plan import Plan
from ...pruning.stage import Stage
from ...pruning.tokens import Tokens
from ..model_card import CARD, save_card
from .configuration import SpectrimConfig, saved_plan

FIRST_SIGMOID = "5.23.0"  # the first transformers whose audio pipelines read `problem_type`


class SpectrimPreTrainedModel(PreTrainedModel):
    """What both models share: the transformer, its plan, saving and loading.

    Attributes:
        spectrogram_transformer: the model; `spectrim.tag`, `trace`, `embed` and others take it.
        training_keep_rate: replaces the plan's keep rates in training mode, see
            `KeepRateSchedule`; None: it does not.
    """

    config_class = SpectrimConfig
    main_input_name = "input_values"
    input_modalities = ("audio",)
    _supports_sdpa = True
    _no_split_modules = ("Block",)
    training_keep_rate: float | None = None

    def __init__(self, config: SpectrimConfig) -> None:
        super().__init__(config)
        self.spectrogram_transformer = _empty_model(config)
        self.post_init()

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """As in transformers; fixed positions stay fixed, and tables of features are computed."""
        loaded = super().from_pretrained(*args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded  # output_loading_info=True
        transformer = model.spectrogram_transformer
        transformer.positions.requires_grad_(transformer.config.learned_positions)
        _compute_tables(transformer)
        model._after_loading()
        return loaded

    def prune(
        self, keep_rate: float | Sequence[float] = 0.7, score: Any = None, **options: Any
    ) -> None:
        """Replace the plan, in place. The weights stay the same objects.

        Args:
            keep_rate, score, options: as for `spectrim.prune`.

        Raises:
            SpectrimError: see `spectrim.prune`; a plan with a learned score or reduction, or with
                code from outside Spectrim.
        """
        plan = prune(self.spectrogram_transformer, keep_rate, score, **options).plan
        self.config.plan = saved_plan(plan)
        self.spectrogram_transformer.plan = plan

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> None:
        """As in transformers; also writes a model card, unless the folder has one."""
        super().save_pretrained(save_directory, **kwargs)
        folder = Path(save_directory)
        is_written = kwargs.get("is_main_process", True) and folder.is_dir()
        if is_written and not (folder / CARD).exists():
            transformer = self.spectrogram_transformer
            save_card(folder, transformer, source=transformer.config.name)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        commit_message: str | None = None,
        private: bool | None = None,
        token: bool | str | None = None,
        revision: str | None = None,
        create_pr: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Upload what `save_pretrained` writes; a card in the repository stays.

        Args:
            repo_id: "owner/name" on the hub; the other arguments as in transformers.
            kwargs: of `save_pretrained`.
        """
        from huggingface_hub import HfApi

        api = HfApi(token=token)
        repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        with TemporaryDirectory() as folder:
            self.save_pretrained(folder, **kwargs)
            if api.file_exists(repo_id, CARD, revision=revision):
                (Path(folder) / CARD).unlink()
            return api.upload_folder(
                repo_id=repo_id,
                folder_path=folder,
                commit_message=commit_message or f"Upload {type(self).__name__}",
                revision=revision,
                create_pr=create_pr,
            )

    def _after_loading(self) -> None:
        """Called after the weights are loaded; subclasses may override it."""

    def _encode(
        self,
        input_values: Tensor,
        attention_mask: Tensor | None,
        output_attentions: bool | None,
        output_hidden_states: bool | None,
    ) -> tuple[Tokens, dict[str, tuple[Tensor, ...] | None]]:
        """The tokens after the last block, and the requested outputs of all blocks."""
        model = self.spectrogram_transformer
        wants_attentions = _default(output_attentions, self.config.output_attentions)
        wants_hidden = _default(output_hidden_states, self.config.output_hidden_states)
        valid = None if attention_mask is None else attention_mask.sum(1)
        attentions: list[Tensor] = []
        hidden_states = [model.tokenize(input_values).x] if wants_hidden else []

        def watch(before: Tokens, context: Context, stage: Stage | None, after: Tokens) -> None:
            if context.block == "input":
                return
            if context.place == "between" and wants_attentions:
                attentions.append(attention_map(context.attention))
            if context.place == "after" and wants_hidden:
                hidden_states.append(after.x)

        tokens = model.encode(
            input_values,
            valid,
            keep_rate=self.training_keep_rate if self.training else None,
            watch=watch if wants_hidden or wants_attentions else None,
            watch_after=wants_hidden,
        )
        return tokens, {
            "hidden_states": tuple(hidden_states) if wants_hidden else None,
            "attentions": tuple(attentions) if wants_attentions else None,
        }


class SpectrimModel(SpectrimPreTrainedModel):
    """A Spectrim model for `AutoModel`: tokens and embeddings instead of logits.

    The model keeps its head, so a saved folder is complete. The head is not computed.
    """

    def forward(
        self,
        input_values: Tensor,
        attention_mask: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutputWithPooling | tuple[Tensor, ...]:
        """Tokens and embeddings; arguments as for `SpectrimForAudioClassification`.

        Returns:
            last_hidden_state: (batch, tokens, width), the prefix tokens and the patches that
                remain, after the last norm of the transformer, if it has one.
            pooler_output: (batch, width), the input of the linear head, as `spectrim.embed`
                returns it.

        Raises:
            SpectrimError: inputs of a wrong shape.
        """
        model = self.spectrogram_transformer
        tokens, outputs = self._encode(
            input_values, attention_mask, output_attentions, output_hidden_states
        )
        output = BaseModelOutputWithPooling(
            last_hidden_state=model.norm(tokens.x), pooler_output=model.pool(tokens), **outputs
        )
        return output if _default(return_dict, self.config.return_dict) else output.to_tuple()


class SpectrimForAudioClassification(SpectrimPreTrainedModel):
    """A Spectrim model for `transformers`: `Trainer`, `pipeline`, `save_pretrained`."""

    accepts_loss_kwargs = False  # the loss is the mean over the clips of a batch

    def forward(
        self,
        input_values: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> SequenceClassifierOutput | tuple[Tensor, ...]:
        """Logits, and the loss if `labels` are passed.

        Args:
            input_values: (batch, frames, mels), as `SpectrimFeatureExtractor` returns them.
            attention_mask: (batch, frames), 1 for frames that contain sound; None: all do.
            labels: (batch,) class indices, or with `problem_type` "multi_label_classification"
                (batch, classes) of 0 and 1.
            output_attentions: also return the attention of every block, (batch, heads, tokens,
                tokens). Fused attention does not store it, so it is computed for this output.
            output_hidden_states: also return the tokens before the first block and after every
                block, (batch, tokens, width). Pruning reduces the number of tokens.
            return_dict: False returns a tuple; None: as in the config.

        Raises:
            SpectrimError: inputs or labels of a wrong shape.
        """
        model = self.spectrogram_transformer
        tokens, outputs = self._encode(
            input_values, attention_mask, output_attentions, output_hidden_states
        )
        logits = model.head(model.pool(tokens)).float()
        loss = None if labels is None else self._loss(labels, logits)
        output = SequenceClassifierOutput(loss=loss, logits=logits, **outputs)
        return output if _default(return_dict, self.config.return_dict) else output.to_tuple()

    def _after_loading(self) -> None:
        _note_old_pipeline(self.config)

    def _loss(self, labels: Tensor, logits: Tensor) -> Tensor:
        is_multi_label = self.config.problem_type == "multi_label_classification"
        expected = logits.shape if is_multi_label else logits.shape[:1]
        if labels.shape != expected:
            other = "single" if is_multi_label else "multi"
            raise SpectrimError(
                f"labels of shape {tuple(labels.shape)}; with problem_type "
                f"{self.config.problem_type!r}, expected {tuple(expected)}. For the other kind of "
                f"labels, load the model with problem_type='{other}_label_classification'."
            )
        labels = labels.to(logits.dtype) if is_multi_label else labels.long()
        loss: Tensor = self.loss_function(labels, logits, self.config)
        return loss


def _empty_model(config: SpectrimConfig) -> SpectrogramTransformer:
    """A model that is not trained.

    `from_pretrained` creates models on the "meta" device, where tensors have no values, and where
    tables cannot be computed. There, weights have no memory and tables are computed on the CPU.
    """
    settings = config.model_config(), config.pruning_plan()
    if not torch.empty(0).is_meta:
        return SpectrogramTransformer(*settings)
    with torch.device("cpu"):
        return without_memory(*settings)


def _compute_tables(model: SpectrogramTransformer) -> None:
    """Give values to the buffers that no file stores, which `from_pretrained` leaves empty."""
    fresh = without_memory(model.config, Plan())
    stored = fresh.state_dict()
    for name, value in fresh.named_buffers():
        if name not in stored:
            parent, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(parent), leaf, value.to(model.device))


def _note_old_pipeline(config: SpectrimConfig) -> None:
    """Note that the pipelines of old versions do not read `problem_type`."""
    is_old = Version(transformers_version) < Version(FIRST_SIGMOID)
    if is_old and config.problem_type == "multi_label_classification":
        text = (
            f"pipelines of transformers {transformers_version} apply softmax to every model, but "
            "this model uses a sigmoid. Pass function_to_apply='sigmoid' in each call, or "
            f"install transformers {FIRST_SIGMOID}."
        )
        warnings.warn(SpectrimNotice(text), stacklevel=4)


def _default(value: bool | None, default: bool | None) -> bool:
    return bool(default if value is None else value)


def weights_of(model: SpectrogramTransformer) -> Mapping[str, Tensor]:
    """The weights of a model under the names of `SpectrimForAudioClassification`."""
    return {f"{TRANSFORMERS_PREFIX}{name}": value for name, value in model.state_dict().items()}
