"""Options that several commands share: single ones as aliases, those that belong together as
dataclasses, which `with_bundles` turns into options."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from ..common.errors import SpectrimError
from ..pruning.defaults import (
    DEFAULT_BLOCKS,
    REDUCTION_NAMES,
    SCORE_NAMES,
)
from .load_options import load_options
from .output import notify

if TYPE_CHECKING:
    from ..deploy.onnx_model import OnnxModel
    from ..models.transformer import SpectrogramTransformer

PATCH = 16  # frames; as `pruning.patches.PATCH`, whose module imports torch
DEFAULT_MODEL = "ast-digits"
DEFAULT_MODELS = (DEFAULT_MODEL, "audiomae-digits")
Value = TypeVar("Value")


def comma_separated(values: Sequence[object]) -> str:
    """Values as a user types them, such as "3,6,9"."""
    return ",".join(map(str, values))


BLOCKS = comma_separated(DEFAULT_BLOCKS)
REDUCTION_HELP = f"How patches are removed: {', '.join(REDUCTION_NAMES)} or package.module:name."
SCORE_HELP = f"Score that ranks the patches: {', '.join(SCORE_NAMES)} or package.module:name."
BLOCKS_HELP = "Blocks that prune, counted from 0, 'input' or 'every'; comma-separated."
BLOCKS_DEFAULT = f"Default: {BLOCKS} for keep-top; other reductions have their own."
MODEL_HELP = "Built-in name, Hugging Face hub id, folder or checkpoint file."

model_option = partial(typer.Option, rich_help_panel="Model and device")
pruning_option = partial(typer.Option, rich_help_panel="Pruning")
data_option = partial(typer.Option, rich_help_panel="Data")
output_option = partial(typer.Option, rich_help_panel="Output")

ModelName = Annotated[str, typer.Argument(help=MODEL_HELP)]
Models = Annotated[
    list[str] | None,
    model_option("--model", help=f"{MODEL_HELP} Repeatable. Default: {DEFAULT_MODEL}."),
]
ModelFrames = Annotated[
    str | None,
    model_option(
        metavar="INTEGER",
        help="Input length in frames of 10 ms (MAEST: 16 ms). In `tag`, `embed` and `thresholds`, "
        "auto uses the shortest of four lengths that holds each clip. Default: the length of the "
        "model.",
    ),
]
ModelLoad = Annotated[
    list[str] | None,
    model_option(
        metavar="KEY=VALUE",
        help="A setting that the checkpoint does not store: mean, std, padding, stride, "
        "activation, metric, heads, pool, trust_code or labels (a,b,c, or a file with one label "
        "per line, or audioset). Repeatable.",
    ),
]
Device = Annotated[
    str, model_option(help="cpu, cuda, cuda:1 or mps; auto uses CUDA if it is available.")
]
Dtype = Annotated[str, model_option(help="float32, bfloat16 or float16.")]
Compile = Annotated[
    bool,
    model_option(
        "--compile",
        help="Compile the model for inference. Takes up to a minute for each model and batch "
        "size, and requires a C++ compiler.",
    ),
]
Threads = Annotated[int | None, model_option(min=1, max=4096, help="Number of CPU threads.")]
Backend = Annotated[
    str | None,
    model_option(help="Backend for ONNX files: onnxruntime or openvino. Default: onnxruntime."),
]
BatchSize = Annotated[int, model_option(min=1, help="Clips or windows per batch.")]
StrideOfPreset = Annotated[
    int | None, model_option(help="Patch stride of a preset. Default: its own.")
]
KEEP_RATES_HELP = "Keep rates above 0, at most 1; comma-separated."
Calibrate = Annotated[
    Path | None,
    typer.Option(
        help="Manifest or folder of typical clips that set the value ranges of int8. Requires "
        "--quantize int8.",
    ),
]
ManifestPaths = Annotated[
    list[Path] | None,
    data_option(
        "--data",
        help="Manifest or folder of sound files. Repeatable. Default: the built-in sample pack.",
    ),
]
Excluded = Annotated[
    list[str] | None,
    data_option(
        "--exclude",
        metavar="MODEL=DATA",
        help="Do not run this model on this data, although it knows the labels, such as "
        "ast-words=fsdd-digit. Names are those in the results. Repeatable.",
    ),
]
ManifestPath = Annotated[
    Path | None,
    data_option(help="Manifest or folder of sound files. Default: the built-in sample pack."),
]


ChannelOption = Annotated[
    str,
    data_option(
        "--channel",
        help="Channel of the sounds: a number from 0, 'mix' (the mean of all) or 'loudest'.",
    ),
]


@dataclass(frozen=True)
class DataSelection:
    """Which rows of a manifest are used."""

    split: Annotated[
        str | None,
        data_option(help="Use only rows of this split. Default: test, if the manifest has it."),
    ] = None
    fold: Annotated[str | None, data_option(help="Use only rows of this fold.")] = None


@dataclass(frozen=True)
class ModelSettings:
    """Settings that a model's file does not store."""

    frames: ModelFrames = None
    load: ModelLoad = None

    @property
    def num_frames(self) -> int | None:
        """The length of the input; None: that of the model."""
        return None if self.frames is None else _whole_number(self.frames)

    def model(self, name: str) -> SpectrogramTransformer:
        """Load a model, with or without classes, on the CPU."""
        return _load(name, self, frames=self.num_frames)

    def classifier(self, name: str) -> SpectrogramTransformer:
        """Load a model that has classes."""
        return _with_classes(self.model(name), name)


@dataclass(frozen=True)
class Loading(ModelSettings):
    """Settings that a model's file does not store, and the device."""

    device: Device = "auto"
    dtype: Dtype = "float32"
    threads: Threads = None

    def model(self, name: str) -> SpectrogramTransformer:
        """Load a model, with or without classes."""
        self.set_threads()
        return _load(name, self, frames=self.num_frames, device=self.device, dtype=self.dtype)

    def set_threads(self) -> None:
        """Let torch use as many threads as --threads says."""
        if self.threads:
            import torch

            torch.set_num_threads(self.threads)

    def onnx_model(self, name: str, backend: str | None) -> OnnxModel:
        """Open an exported file, which runs on the CPU in its own precision, without torch."""
        from ..deploy.onnx_model import load_onnx

        refuse_for_onnx(
            {
                "--frames": self.frames,
                "--load": self.load,
                "--device": None if self.device in ("auto", "cpu") else self.device,
                "--dtype": None if self.dtype == "float32" else self.dtype,
            }
        )
        return load_onnx(name, backend or "onnxruntime", self.threads)


@dataclass(frozen=True)
class LoadingWithCompile(Loading):
    """As `Loading`, with compilation."""

    compile: Compile = False

    def model_of_any_length(self, name: str) -> SpectrogramTransformer:
        """As `model`; --frames auto lets the model choose the length of each clip."""
        if self.frames != "auto":
            return self.model(name)
        self.set_threads()
        return _load(name, self, frames="auto", device=self.device, dtype=self.dtype)

    def classifier_of_any_length(self, name: str) -> SpectrogramTransformer:
        """As `classifier`; --frames auto lets the model choose the length of each clip."""
        return _with_classes(self.model_of_any_length(name), name)

    def note_compilation(self, seconds: float) -> None:
        """Print how long compilation took, unless no model was compiled."""
        if self.compile and seconds:
            notify("note", f"compilation took {seconds:.1f} s.")

    def compiles_timed_models(self, has_timing: bool) -> bool:
        """Whether the timed models are compiled; a note says that nothing is timed."""
        if self.compile and not has_timing:
            notify("note", "nothing is compiled, because only timing uses compiled models.")
        return self.compile and has_timing

    def onnx_model(self, name: str, backend: str | None) -> OnnxModel:
        """As `Loading.onnx_model`; --compile is refused."""
        refuse_for_onnx({"--compile": self.compile or None})
        return super().onnx_model(name, backend)


def _whole_number(frames: str) -> int:
    if frames == "auto":
        raise SpectrimError(
            "--frames auto works in tag, embed and thresholds only. Pass a number of frames."
        )
    if not frames.isdecimal() or int(frames) < PATCH:
        raise SpectrimError(f"--frames {frames!r}; expected a number of at least {PATCH}.")
    return int(frames)


def _load(name: str, settings: ModelSettings, **placement: Any) -> SpectrogramTransformer:
    from ..models.loading.load import load

    options = load_options(settings.load)
    if options.get("trust_code"):
        allow_trusted_code(":")
    return load(name, **placement, **options)


def _with_classes(model: SpectrogramTransformer, name: str) -> SpectrogramTransformer:
    from ..models.config import NO_CLASSES

    if model.labels == [NO_CLASSES]:
        raise SpectrimError(
            f"{name} was only pre-trained and has no classes yet. Fine-tune it first: spectrim "
            f"train RECIPE init={name}."
        )
    return model


def listed(text: str, convert: Callable[[str], Value], option: str) -> list[Value]:
    """The values of a comma-separated text."""
    try:
        values = [convert(item.strip()) for item in text.split(",") if item.strip()]
    except ValueError:
        raise SpectrimError(
            f"{option} {text!r} is not a comma-separated list of numbers."
        ) from None
    if not values:
        raise SpectrimError(f"{option} is empty. Give at least one value, comma-separated.")
    return values


def rates_of(text: str) -> list[float]:
    """Keep rates above 0 and at most 1, such as "1.0,0.7"."""
    from ..pruning.stage import check_keep_rate

    rates = listed(text, float, "--keep-rates")
    for rate in rates:
        check_keep_rate(rate)
    return rates


def blocks_of(text: str | None) -> list[int | str] | str | None:
    """The blocks that prune, such as "3,6,9", "input,6" or "every"; None stays None."""
    if text is None or text.strip() == "every":
        return text and "every"
    return listed(text, lambda item: item if item == "input" else int(item), "--blocks")


def allow_trusted_code(*names: str) -> None:
    """Let "module:name" be imported from the current folder."""
    if any(":" in name for name in names) and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))


def is_onnx(name: str) -> bool:
    """Whether a model is an exported file."""
    return name.lower().endswith(".onnx")


def refuse_for_onnx(options: dict[str, Any]) -> None:
    """Refuse options that an exported file cannot follow."""
    for option, value in options.items():
        if value is not None:
            given = option if value is True else f"{option} {value}"
            raise SpectrimError(
                f"{given} applies to PyTorch models only; an ONNX file keeps the settings that it "
                "was exported with. Export another file: spectrim export --help."
            )
