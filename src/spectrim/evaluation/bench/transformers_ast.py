"""The reference implementation: transformers' AST, from waveforms to probabilities."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ...common.errors import SpectrimError
from ...models.transformer import SpectrogramTransformer


class Transformers:
    """An ASTForAudioClassification with the model's shape, device and dtype, run as users run it.

    Its weights are random, because time does not depend on them. Its feature extractor always runs
    on the CPU.

    Attributes:
        description: which attention and which filter bank it runs.
    """

    def __init__(self, model: SpectrogramTransformer) -> None:
        config, self.rate = model.config, model.config.sample_rate
        if config.family != "ast":
            raise SpectrimError(
                f"--against transformers compares an AST, and this model is of family "
                f"{config.family!r}. Benchmark an AST, or omit --against."
            )
        if importlib.util.find_spec("transformers") is None:
            raise SpectrimError(
                "--against transformers requires transformers. Run pip install transformers."
            )
        from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification
        from transformers.utils import logging

        logging.set_verbosity_error()
        make: Any = ASTConfig
        config_of_shape = make(
            hidden_size=config.width,
            num_hidden_layers=config.depth,
            num_attention_heads=config.heads,
            intermediate_size=4 * config.width,
            frequency_stride=config.stride[0],
            time_stride=config.stride[1],
            max_length=config.frames,
            num_mel_bins=config.mels,
            num_labels=len(config.labels),
        )
        self.model = ASTForAudioClassification(config_of_shape).eval().to(model.device, model.dtype)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about its numpy filter bank
            self.extractor: Any = ASTFeatureExtractor(max_length=config.frames)
        # Without torchaudio the extractor uses its own numpy code.
        torchaudio = importlib.util.find_spec("torchaudio") is not None
        filter_bank = "torchaudio's" if torchaudio else "its numpy"
        attention = getattr(config_of_shape, "_attn_implementation", "unknown")
        self.description = f"transformers, {attention} attention, {filter_bank} filter bank"

    def call(self, waveforms: list[np.ndarray]) -> Callable[[], object]:
        """A call from waveforms to probabilities."""

        def run() -> object:
            values = self.extractor(waveforms, sampling_rate=self.rate, return_tensors="pt")
            features = values["input_values"].to(self.model.device, self.model.dtype)
            with torch.inference_mode():
                return self.model(features).logits.float().sigmoid().cpu().numpy()

        return run


def reference_of(against: str, model: SpectrogramTransformer) -> Transformers:
    """The implementation to compare with, by its name.

    Raises:
        SpectrimError: there is none of this name, or it does not have the model.
    """
    if against != "transformers":
        raise SpectrimError(f"against is {against!r}; expected 'transformers'.")
    return Transformers(model)
