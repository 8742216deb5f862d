"""Compiled inference: one compiled function per batch size, with CUDA graphs on NVIDIA GPUs."""

from __future__ import annotations

import importlib.util
import os
import shutil
import time
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..common.errors import SpectrimError, first_line

if TYPE_CHECKING:
    from .transformer import SpectrogramTransformer


class CompiledForward:
    """Features to logits of one model, compiled by `torch.compile`.

    The first call with a batch compiles it, which takes up to a minute. A smaller batch is padded
    with zeros to the smallest compiled size, because one call is cheaper than a compilation.
    `prepare` compiles a size of its own.

    Attributes:
        options: of `torch.compile`.
        seconds: batch size to the seconds of its compilation.
    """

    def __init__(self, model: SpectrogramTransformer, options: dict[str, Any]) -> None:
        self._model, self.options = model, options
        self._functions: dict[int, Callable[[Tensor, Tensor], Tensor]] = {}
        self.seconds: dict[int, float] = {}

    @torch.inference_mode()
    def __call__(self, features: Tensor, valid: Tensor) -> Tensor:
        """(batch, frames, mels) features and (batch,) valid frames to (batch, classes) logits.

        Raises:
            SpectrimError: the model cannot be compiled on this machine.
        """
        batch = len(features)
        size = min((size for size in self._functions if size >= batch), default=batch)
        if size not in self._functions:
            self.prepare(features, valid)
        outputs = self._functions[size](_padded(features, size), _padded(valid, size))
        # The next replay of a CUDA graph overwrites the outputs of this one.
        return outputs[:batch].clone()

    @torch.inference_mode()
    def prepare(self, features: Tensor, valid: Tensor) -> float:
        """Compile for exactly this batch size, once; returns the seconds that it took."""
        batch = len(features)
        if batch in self._functions:
            return self.seconds[batch]
        began = time.perf_counter()
        function = torch.compile(self._fresh_function(), dynamic=False, **self.options)
        try:
            # A CUDA graph is recorded in the second call and replayed from the third.
            for _ in range(3 if features.is_cuda else 1):
                function(_padded(features, batch), _padded(valid, batch))
        except Exception as error:
            if isinstance(error, SpectrimError) or type(error).__module__.split(".")[0] != "torch":
                raise
            raise SpectrimError(
                f"the model cannot be compiled on this machine: {first_line(error)}. Omit "
                "compile=True (--compile) to run it uncompiled."
            ) from error
        if features.is_cuda:
            torch.cuda.synchronize(features.device)
        self._functions[batch] = function
        self.seconds[batch] = time.perf_counter() - began
        return self.seconds[batch]

    def _fresh_function(self) -> Callable[[Tensor, Tensor], Tensor]:
        """A function with a code object of its own.

        PyTorch counts compilations per code object, and gives up after eight. A sweep compiles
        more models than that.
        """
        model = self._model

        def forward(features: Tensor, valid: Tensor) -> Tensor:
            return model.head(model.pool(model.encode(features, valid))).float()

        code = forward.__code__.replace()
        return types.FunctionType(
            code, forward.__globals__, forward.__name__, None, forward.__closure__
        )


def _padded(values: Tensor, size: int) -> Tensor:
    """The values, then zeros, in new memory.

    Tensors made inside and outside inference mode are of two kinds for a compiled function, which
    would be compiled for both. This makes them of one kind.
    """
    padded = values.new_zeros(size, *values.shape[1:])
    padded[: len(values)] = values
    return padded


def compiled_forward(model: SpectrogramTransformer, **options: Any) -> CompiledForward:
    """A model's forward pass, to be compiled when it is first called.

    Args:
        options: of `torch.compile`. The default mode on CUDA is "reduce-overhead", which replays
            CUDA graphs.

    Raises:
        SpectrimError: this machine has no compiler, or the plan drops padding.
    """
    if model.plan.drop_padding:
        raise SpectrimError(
            "a plan with drop_padding cannot be compiled, because the number of tokens depends on "
            "the clip. Use a shorter length instead: frames=... (--frames)."
        )
    if options.get("backend", "inductor") == "inductor":
        check_compiler(model.device)
    if model.device.type == "cuda" and not {"mode", "backend", "options"} & options.keys():
        options["mode"] = "reduce-overhead"
    return CompiledForward(model, options)


def check_compiler(device: torch.device) -> None:
    """Refuse to compile where PyTorch's inductor has no compiler to call.

    Raises:
        SpectrimError: a device of type "cuda" without Triton, or no C++ compiler.
    """
    if device.type == "cuda" and importlib.util.find_spec("triton") is None:
        raise SpectrimError(
            "compilation for a GPU requires triton, which is not installed. Run pip install "
            "triton, or omit compile=True (--compile)."
        )
    names = (os.environ.get("CXX"), "c++", "g++", "clang++", "cl")
    if not any(shutil.which(name) for name in names if name):
        raise SpectrimError(
            "compilation requires a C++ compiler, and none of g++, clang++ and cl is on the PATH. "
            "Install one, set CXX, or omit compile=True (--compile)."
        )
