"""Options that several commands share, and how their texts are read."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from ..common.errors import SpectrimError, nearest

if TYPE_CHECKING:
    from ..deploy.onnx_model import OnnxModel
    from ..models.transformer import SpectrogramTransformer

DEFAULT_MODEL = "ast-digits"
DEFAULT_MODELS = (DEFAULT_MODEL, "audiomae-digits")
Value = TypeVar("Value")

KeepRate = Annotated[
    float | None, typer.Option(help="Share of patches that stays in each of --blocks.")
]
Score = Annotated[
    str, typer.Option(help="attention, intensity, variation, random, or package.module:name.")
]
Blocks = Annotated[
    str, typer.Option(help="Blocks that prune, from 0, or 'input'; comma-separated.")
]
Reduction = Annotated[str, typer.Option(help="keep-top, or package.module:name.")]
ScoreOrNone = Annotated[str | None, typer.Option(help="With --keep-rate; else attention.")]
BlocksOrNone = Annotated[str | None, typer.Option(help="With --keep-rate; else 3,6,9.")]
ReductionOrNone = Annotated[
    str | None, typer.Option(help="With --keep-rate; else keep-top. Or package.module:name.")
]
Device = Annotated[
    str, typer.Option(help="cpu, cuda, cuda:1, mps; auto is cuda where there is one.")
]
Dtype = Annotated[str, typer.Option(help="float32, bfloat16 or float16.")]
Threads = Annotated[int | None, typer.Option(min=1, help="Processor threads.")]
Backend = Annotated[
    str | None, typer.Option(help="What runs an ONNX file: onnxruntime (default) or openvino.")
]
BatchSize = Annotated[int, typer.Option(min=1, help="Clips or windows at a time.")]
Load = Annotated[
    list[str] | None,
    typer.Option(
        help="What the checkpoint does not say: mean=, std=, padding=, stride=, activation=, "
        "metric=, labels= (a,b,c, a file of one a line, or audioset), trust_code=true; may be "
        "repeated."
    ),
]
Models = Annotated[
    list[str] | None, typer.Option(help="Built in, hub id, folder or file; may be repeated.")
]
Manifests = Annotated[
    list[Path] | None,
    typer.Option(help="A manifest, or a folder of sound files; may be repeated."),
]
Split = Annotated[
    str | None, typer.Option(help="Rows of this split only; 'test' where there is one.")
]
Fold = Annotated[str | None, typer.Option(help="Rows of this fold only.")]
Frames = Annotated[
    int | None, typer.Option(min=16, help="Length in frames of 10 ms; adapts the model's.")
]


def listed(text: str, kind: Callable[[str], Value], option: str) -> list[Value]:
    """A comma-separated text to values."""
    try:
        values = [kind(part.strip()) for part in text.split(",") if part.strip()]
    except ValueError:
        raise SpectrimError(f"{option} {text!r}; wanted numbers, comma-separated.") from None
    if not values:
        raise SpectrimError(f"{option} is empty; wanted comma-separated values.")
    return values


def rates_of(text: str, option: str = "--keep-rates") -> list[float]:
    """Keep-rates above 0 and at most 1, such as "1.0,0.7"."""
    from ..pruning.stage import check_keep_rate

    rates = listed(text, float, option)
    for rate in rates:
        check_keep_rate(rate)
    return rates


def blocks_of(text: str) -> list[int | str]:
    """Places of stages, such as "3,6,9" or "input,6"."""
    return listed(text, lambda part: part if part == "input" else int(part), "--blocks")


def allow_trusted_code(*names: str) -> None:
    """Let "module:name" be found in the folder where the command runs."""
    if any(":" in name for name in names) and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))


def overrides_of(texts: list[str] | None) -> dict[str, Any]:
    """`--load` options, such as "padding=minimum", to arguments of `spectrim.load`."""
    kinds: dict[str, Callable[[str], Any]] = {
        "mean": float,
        "std": float,
        "padding": str,
        "stride": int,
        "activation": str,
        "metric": str,
        "labels": _labels,
        "trust_code": lambda text: {"true": True, "false": False}[text.lower()],
    }
    found = {}
    for text in texts or []:
        key, _, value = text.partition("=")
        if key not in kinds:
            raise SpectrimError(f"--load {text!r}: no such key.{nearest(key, kinds)}")
        try:
            found[key] = kinds[key](value)
        except (ValueError, KeyError):
            raise SpectrimError(f"--load {text!r}: {value!r} is no value for {key}.") from None
    return found


def _labels(text: str) -> list[str]:
    """Names of classes, in the order of the logits: parted by commas, of a file, or AudioSet's."""
    from ..models.labels import audioset_labels, labels_in

    if text == "audioset":
        return list(audioset_labels())
    if Path(text).is_file():
        return labels_in(Path(text))
    if "," not in text:
        raise ValueError("neither several names nor a file")
    return [name.strip() for name in text.split(",")]


def load_model(
    name: str,
    device: str = "auto",
    dtype: str = "float32",
    threads: int | None = None,
    frames: int | None = None,
    texts: list[str] | None = None,
    *,
    answers: bool = True,
) -> SpectrogramTransformer:
    """Load a model as the options say.

    Args:
        answers: whether its classes are wanted, which one that was only pre-trained lacks.
    """
    import torch

    from ..models.config import NO_CLASSES
    from ..models.loading.load import load

    if threads:
        torch.set_num_threads(threads)
    overrides = overrides_of(texts)
    if overrides.get("trust_code"):
        allow_trusted_code(":")
    model = load(name, device=device, dtype=dtype, frames=frames, **overrides)
    if answers and model.labels == [NO_CLASSES]:
        raise SpectrimError(
            f"{name} was only pre-trained and has no classes yet. Fine-tune it first: spectrim "
            f"train RECIPE init={name}."
        )
    return model


def pruned_as_told(
    model: SpectrogramTransformer,
    keep_rate: float | None,
    score: str | None,
    blocks: str | None,
    reduction: str | None,
) -> SpectrogramTransformer:
    """The model with the plan that --keep-rate and what goes with it ask for; else its own."""
    from ..models.build import prune

    if keep_rate is None:
        told = {"--score": score, "--blocks": blocks, "--reduction": reduction}
        for option, value in told.items():
            if value is not None:
                raise SpectrimError(
                    f"{option} {value} goes with --keep-rate; a saved plan has its own."
                )
        return model
    score = "attention" if score is None else score
    reduction = "keep-top" if reduction is None else reduction
    allow_trusted_code(score, reduction)
    places = blocks_of("3,6,9" if blocks is None else blocks)
    return prune(model, keep_rate, score, places, reduction=reduction)


def is_onnx(name: str) -> bool:
    """Whether a model is an exported file."""
    return name.lower().endswith(".onnx")


def fixed_in_file(options: dict[str, Any]) -> None:
    """Refuse options for what an exported file has settled."""
    for option, value in options.items():
        if value is not None:
            raise SpectrimError(
                f"{option} {value} is for models of torch; an ONNX file was exported with its "
                "own. Export another: spectrim export --help."
            )


def load_onnx_model(
    name: str,
    backend: str | None,
    threads: int | None,
    device: str = "auto",
    dtype: str = "float32",
) -> OnnxModel:
    """Open an exported file, which runs on the CPU in its own precision; torch is not imported."""
    from ..deploy.onnx_model import load_onnx

    fixed_in_file(
        {
            "--device": None if device in ("auto", "cpu") else device,
            "--dtype": None if dtype == "float32" else dtype,
        }
    )
    return load_onnx(name, backend or "onnxruntime", threads)
