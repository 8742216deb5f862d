"""Spectrim models to models of transformers: pruned ones, and plain ASTs."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification
from transformers.utils import logging

from ...common.errors import SpectrimError
from ...models.config import ModelConfig, activation_of
from ...models.has_recommendation import prunes
from ...models.loading.native import TRANSFORMERS_PREFIX
from ...models.loading.to_hugging_face import ast_differences, ast_settings, ast_state
from .configuration import PROBLEM_TYPES, SpectrimConfig, saved_plan
from .feature_extraction import SpectrimFeatureExtractor
from .modeling import SpectrimForAudioClassification, weights_of

if TYPE_CHECKING:
    from ...models.transformer import SpectrogramTransformer

HEAD = (f"{TRANSFORMERS_PREFIX}head.weight", f"{TRANSFORMERS_PREFIX}head.bias")


def to_transformers(
    model: SpectrogramTransformer, labels: Sequence[str] | None = None
) -> tuple[SpectrimForAudioClassification, SpectrimFeatureExtractor]:
    """A Spectrim model with its plan, and its feature extractor; weights are copied.

    Args:
        labels: names of other classes, for fine-tuning: the linear head is then untrained. None:
            the model's own.

    Raises:
        SpectrimError: the plan has a learned score or reduction, or code from outside Spectrim;
            softmax over a single class.
    """
    ours, state = model.config, dict(weights_of(model))
    if labels is not None:
        others = activation_of(len(labels))
        ours = replace(ours, labels=tuple(labels), trained_range=None, **others)
        state = {name: value for name, value in state.items() if name not in HEAD}
    config = SpectrimConfig(model=ours.to_dict(), plan=saved_plan(model.plan), **_classes(ours))
    theirs = SpectrimForAudioClassification(config)
    theirs.load_state_dict(state, strict=labels is None)
    theirs.to(device=model.device, dtype=model.dtype)
    return theirs.eval(), SpectrimFeatureExtractor(ours.to_dict())


def to_ast(
    model: SpectrogramTransformer,
) -> tuple[ASTForAudioClassification, ASTFeatureExtractor]:
    """An unpruned AST that transformers reads without Spectrim; weights are copied.

    Raises:
        SpectrimError: the model prunes, or differs from AST as transformers computes it.
    """
    if prunes(model.plan):
        raise SpectrimError(f"a plain AST cannot prune, but the model has a plan: {model.plan}.")
    if differences := ast_differences(model.config):
        raise SpectrimError(f"the model differs from a plain AST: {', '.join(differences)}.")
    settings = ast_settings(model.config)
    theirs = ASTForAudioClassification(ASTConfig(**settings, **_classes(model.config)))
    theirs.load_state_dict(ast_state(model.state_dict(), model.config, set(theirs.state_dict())))
    theirs.to(device=model.device, dtype=model.dtype)
    frames, mean, std = model.config.frames, model.config.mean, model.config.std
    extractor = ASTFeatureExtractor(max_length=frames, mean=mean, std=std)
    return theirs.eval(), extractor


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Context in which transformers shows no progress bars, and no warnings of its mel filters."""
    was_enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="At least one mel filter")
            yield
    finally:
        if was_enabled:
            logging.enable_progress_bar()


def _classes(config: ModelConfig) -> dict[str, Any]:
    """Labels, and the problem type that gives the model's activation in a pipeline."""
    labels = config.labels
    if len(labels) == 1 and config.activation == "softmax":
        raise SpectrimError(
            "the model has one class with softmax, whose probability is always 1, and transformers "
            "refuses it. Load the model with activation='sigmoid' (--load activation=sigmoid)."
        )
    return {
        "id2label": dict(enumerate(labels)),
        "label2id": {label: index for index, label in enumerate(labels)},
        "problem_type": PROBLEM_TYPES[config.activation],
    }
