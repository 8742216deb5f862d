"""Why a model could not be exported, from the chain of errors that torch's exporter raises."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..common.errors import SpectrimError, first_line

PACKAGE = Path(__file__).parents[1]
TORCH_FOLDERS = ("/torch/", "/onnxscript/", "/onnx_ir/")
MISSING = re.compile(r"No ONNX function found for <OpOverload\(op='([\w.]+)'")
LINE = re.compile(r'File "([^"]+)", line (\d+), in (\w+)')


def export_error(error: Exception, user_functions: Sequence[str]) -> SpectrimError:
    """A sentence with the first cause of an error of `torch.onnx.export`, and where it lies.

    The exporter wraps each error several times, and only the innermost says what happened.

    Args:
        user_parts: names of the plan's scores and reductions from outside Spectrim.
    """
    chain = list(_chain(error))
    used = f" The plan uses your own code: {', '.join(user_functions)}." if user_functions else ""
    if match := MISSING.search(" ".join(map(str, chain))):
        return SpectrimError(
            f"the model cannot be exported, because there is no ONNX function for {match[1]}."
            f"{used} Write the same with other tensor operations, or choose another score or "
            "reduction."
        )
    cause = chain[-1]
    # torch's own details follow "(unhinted".
    reason = first_line(cause).partition(" (unhinted")[0].strip().rstrip(".:")
    file, line = _innermost_frame(chain)
    if file is None:
        return SpectrimError(f"tracing the model for export failed: {reason}.")
    where = f"{file}, line {line}"
    if PACKAGE in Path(file).parents:
        return SpectrimError(
            f"tracing the model for export failed in Spectrim ({where}): {reason}.{used} "
            "Choose another score or reduction."
        )
    return SpectrimError(
        f"tracing the plan for export failed in your own code ({', '.join(user_functions)}; "
        f"{where}): {reason}. Use tensor operations only, without branches on values and without "
        ".tolist() or .item()."
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, its cause, the cause of that, and so on."""
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _innermost_frame(chain: Sequence[BaseException]) -> tuple[str | None, int]:
    """File and line that failed, outside of torch: the innermost that an error knows."""
    for error in reversed(chain):
        named = [(file, int(line)) for file, line, _ in LINE.findall(str(error))]
        passed = [
            (frame.filename, frame.lineno or 0)
            for frame in traceback.extract_tb(error.__traceback__)
        ]
        for frames in (named, passed):
            inner = [frame for frame in frames if _is_outside_torch(frame[0])]
            if inner:
                return inner[-1]
    return None, 0


def _is_outside_torch(file: str) -> bool:
    path = Path(file).as_posix()
    is_call = PACKAGE / "deploy" in Path(file).parents  # `export` itself, which calls the exporter
    return not is_call and not file.startswith("<") and not any(f in path for f in TORCH_FOLDERS)
