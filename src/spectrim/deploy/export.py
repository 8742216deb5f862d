"""Export of a model with its pruning to one ONNX file, from waveforms to probabilities."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..audio.windows import padded
from ..common.errors import SpectrimError, missing_package, nearest
from ..common.files import save, save_json
from ..models.build import macs
from ..models.provenance import plan_record
from ..models.transformer import SpectrogramTransformer
from ..pruning.components import declared, part_name
from ..pruning.reductions import REDUCTIONS
from ..pruning.scores import SCORES
from ..version import __version__
from .export_errors import export_error
from .graph import FromFeatures, FromWaveforms
from .onnx_metadata import Metadata
from .translations import translations

OPSET = 20  # the first with Gelu; ONNX Runtime has it since 1.17, OpenVINO since 2024
INPUTS = {"waveform": FromWaveforms, "features": FromFeatures}
QUANTIZATIONS = ("int8",)


def export(
    model: SpectrogramTransformer,
    out: str | os.PathLike[str],
    *,
    input: str = "waveform",
    quantize: str | None = None,
    calibration: Iterable[Sequence[np.ndarray]] | None = None,
    name: str | None = None,
) -> Path:
    """Write a model, with its plan, as an ONNX file that needs neither torch nor Spectrim.

    Args:
        out: the file to write; an existing file is replaced.
        input: "waveform": (batch, samples) float32 at the model's sample rate and (batch,) int64
            lengths. Any number of samples is accepted; samples past the model's window are ignored.
            "features": (batch, frames, mels) normalised log-mel and (batch,) int64 valid frames.
            The batch size is dynamic.
        quantize: "int8": weights and activations of the blocks' linear layers; the filter bank,
            LayerNorms, softmaxes and scores stay float32.
        calibration: batches of typical waveforms, (samples,) float32 each, that set the range of
            activations (static int8); None: each input sets it (dynamic int8).
        name: name of the model in the metadata; None: its config's name.

    Returns:
        The path. The outputs are "probabilities" and "logits", (batch, classes) float32 each, and
        "embedding", (batch, width) float32. Beside it, `labels_path` names the file of labels.

    Raises:
        SpectrimError: random scores; a user's score or reduction that cannot be traced; an
            unknown input or quantisation; the extra `export` is not installed.
    """
    if input not in INPUTS:
        raise SpectrimError(f"input is {input!r}.{nearest(input, INPUTS)}")
    if quantize is None and calibration is not None:
        raise SpectrimError("calibration requires quantize='int8' (--quantize int8).")
    if calibration is not None and not (calibration := list(calibration)):
        raise SpectrimError("`calibration` holds no batch. Pass None for dynamic int8.")
    out = Path(out)
    feeds = None if calibration is None else _feeds(model, input, calibration)
    write_onnx(model, INPUTS[input], out, input, quantize, feeds, name)
    save_json(labels_path(out), model.labels)
    return out


def write_onnx(
    model: SpectrogramTransformer,
    graph: type[FromFeatures],
    out: Path,
    input: str,
    quantize: str | None,
    feeds: Iterable[dict[str, np.ndarray]] | None = None,
    name: str | None = None,
) -> None:
    """Trace a model in a graph and write the file; `export` without its files beside it.

    Args:
        graph: a subclass of `FromFeatures`. input: its input in words, for the metadata.
        feeds: inputs of the graph by name, which calibrate int8; None: dynamic int8.
    """
    if model.lengths:
        raise SpectrimError(
            "an ONNX file has one length: load the model with frames=512 or another number."
        )
    if quantize not in (None, *QUANTIZATIONS):
        raise SpectrimError(f"quantize is {quantize!r}.{nearest(str(quantize), QUANTIZATIONS)}")
    check_exportable(model)
    _needed()
    quantization = (
        "none" if quantize is None else f"int8 {'dynamic' if feeds is None else 'static'}"
    )
    metadata = metadata_of(model, input, quantization, name)
    proto = _traced(graph(model).eval())
    if quantize is not None:
        from .quantize import quantized

        with tempfile.TemporaryDirectory() as folder:
            proto = quantized(proto, Path(folder), feeds)
    _save(proto, metadata, out)


def _feeds(
    model: SpectrogramTransformer, input: str, calibration: Iterable[Sequence[np.ndarray]]
) -> Iterator[dict[str, np.ndarray]]:
    """The inputs of the graph by name, for each batch of waveforms."""
    for batch in calibration:
        if input == "features":
            pair = tuple(part.numpy() for part in model.features_from_waveforms(list(batch)))
        else:
            pair = padded(batch, model.config.window_samples)
        yield dict(zip(INPUTS[input].names, pair, strict=True))


def metadata_of(
    model: SpectrogramTransformer, input: str, quantization: str, name: str | None = None
) -> Metadata:
    """The metadata that the file stores."""
    config = model.config
    return Metadata(
        name=name or config.name,
        labels=model.labels,
        sampling_rate=config.sample_rate,
        front_end=config.front_end,
        window_samples=config.window_samples,
        frames=config.frames,
        input=input,
        plan=plan_record(model.plan),
        activation=config.activation,
        metric=config.metric,
        macs=macs(model),
        quantization=quantization,
        embedding_width=config.width,
        spectrim=__version__,
    )


def check_exportable(model: SpectrogramTransformer) -> None:
    """Refuse what declares that it cannot be exported, without trying.

    Raises:
        SpectrimError: a score or reduction of the plan; a plan that drops padding; a device or
            dtype.
    """
    if model.plan.drop_padding:
        raise SpectrimError(
            "a plan with drop_padding cannot be exported, because the number of tokens depends on "
            "the clip. Use a shorter length instead: load the model with frames=... (--frames)."
        )
    for stage in model.plan.stages:
        functions: dict[str, Any] = {"score": stage.rank, "reduction": stage.reduce}
        for role, function in functions.items():
            exportable = True if function is None else declared(function, "exportable", True)
            if exportable is not True:
                reason = exportable or "its results differ between runtimes"
                raise SpectrimError(
                    f"the stage at {stage.at} uses the {role} "
                    f"{part_name(getattr(stage, role))!r}, which cannot be exported, because "
                    f"{reason}. Choose another {role}."
                )
    if model.dtype != torch.float32 or model.device.type != "cpu":
        raise SpectrimError(
            f"export requires a float32 model on the CPU; this model is {model.dtype} on "
            f"{model.device}. Load it with dtype='float32', device='cpu'."
        )


def _needed() -> None:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        if importlib.util.find_spec(name) is None:
            raise missing_package("export", name, "export")


def _traced(whole: FromFeatures) -> Any:
    """The module as an onnx.ModelProto."""
    plan = whole.model.plan
    names = {part_name(part) for s in plan.stages for part in (s.score, s.reduction)}
    user_functions = sorted(names - {"none", *SCORES, *REDUCTIONS})
    loggers = [logging.getLogger(name) for name in ("onnxscript", "onnx_ir", "torch.onnx")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                whole,
                whole.examples(),
                input_names=list(whole.names),
                output_names=list(whole.outputs),
                dynamic_shapes=whole.free(),
                dynamo=True,
                external_data=False,
                verbose=False,
                opset_version=OPSET,
                custom_translation_table=translations(),
            )
    except Exception as error:
        raise export_error(error, user_functions) from error
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
    assert program is not None
    _check_free(program.model_proto, user_functions)
    return tidy(program.model_proto)


def _check_free(proto: Any, user_functions: list[str]) -> None:
    """Refuse a graph of one batch size: code that reads the size as a number fixes it silently."""
    for entry in proto.graph.input:
        if not entry.type.tensor_type.shape.dim[0].dim_param:
            culprit = (
                f"your own code ({', '.join(user_functions)})" if user_functions else "the model"
            )
            raise SpectrimError(
                f"{culprit} fixes the batch to one size when traced. Use x.shape[0], not len(x)."
            )


def tidy(proto: Any) -> Any:
    """Name nodes by the layer that they belong to, and remove the other notes of the tracer.

    The notes contain file paths of this machine, and are as large as a small model.
    """
    for number, node in enumerate(proto.graph.node):
        notes = {entry.key: entry.value for entry in node.metadata_props}
        scopes = _scopes(notes.get("pkg.torch.onnx.name_scopes", ""))
        node.name = f"{'.'.join(scopes[-1:])}/{node.op_type}_{number}".removeprefix("model.")
        del node.metadata_props[:]
        node.doc_string = ""
    del proto.graph.metadata_props[:]
    del proto.metadata_props[:]
    del proto.functions[:]
    for value in [*proto.graph.input, *proto.graph.output, *proto.graph.initializer]:
        del value.metadata_props[:]
    del proto.graph.value_info[:]  # shapes of intermediate values; runtimes infer them
    proto.producer_name, proto.producer_version = "spectrim", __version__
    proto.graph.name = "spectrim"
    return proto


def _scopes(text: str) -> list[str]:
    """The modules around a node, outermost first: "['', 'model', 'model.blocks.0', ...]"."""
    try:
        scopes = json.loads(text.replace("'", '"'))
    except ValueError:
        return []
    return [scope for scope in scopes[:-1] if isinstance(scope, str) and scope]


def _save(proto: Any, metadata: Metadata, out: Path) -> None:
    import onnx

    del proto.metadata_props[:]
    onnx.helper.set_model_props(proto, metadata.to_texts())
    onnx.checker.check_model(proto)
    save(out, lambda aside: onnx.save(proto, aside))


def labels_path(out: Path) -> Path:
    """The file beside an exported file that lists the labels, for programs that read no metadata.

    Such as "digits.labels.json" beside "digits.onnx".
    """
    return out.with_suffix(".labels.json")
