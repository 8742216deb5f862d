"""The program `spectrim`: its commands, and how errors end it."""

from __future__ import annotations

import importlib
import io
import os
import sys
import warnings
from typing import Annotated

import typer

from ..common.errors import SpectrimError, SpectrimNotice, out_of_memory
from ..version import __version__
from .commands import Command, with_bundles
from .output import notify

# Modules of this folder, in the order of `spectrim --help`. Each has `command` and EXAMPLE, or
# `app` with commands of its own.
COMMANDS = (
    "sweep",
    "tag",
    "embed",
    "thresholds",
    "check",
    "analyze",
    "ablate",
    "convert",
    "export",
    "bench",
    "macs",
    "models",
    "train",
    "pretrain",
    "grid",
    "data",
)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
)
for name in COMMANDS:
    module = importlib.import_module(f".{name}", __package__)
    if hasattr(module, "app"):
        app.add_typer(module.app, name=name)
    else:
        app.command(name, cls=Command, epilog=module.EXAMPLE)(with_bundles(module.command))


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"spectrim {__version__}")
        raise typer.Exit


@app.callback(epilog="Example: spectrim sweep --model ast-digits --data clips.csv")
def root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Make audio spectrogram transformers cheaper by dropping or merging spectrogram patches."""


def main() -> None:
    """Run the command line: exit status 2 for a wrong call, 1 when some items failed."""
    warnings.simplefilter("always", SpectrimNotice)
    original_showwarning = warnings.showwarning
    printed: set[str] = set()

    def show(message: Warning | str, category: type[Warning], *rest: object) -> None:
        if issubclass(category, SpectrimNotice):
            if str(message) not in printed:  # a sweep prunes one model many times
                printed.add(str(message))
                notify("note", str(message))
        else:
            original_showwarning(message, category, *rest)  # type: ignore[arg-type]

    warnings.showwarning = show  # type: ignore[assignment]
    for stream in (sys.stdout, sys.stderr):  # a file name may not be text in the terminal's code
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except SpectrimError as error:
        notify("error", str(error))
        sys.exit(2)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            # The reader of the pipe, such as head, has ended.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(0)
        if not error.filename:
            raise
        notify("error", f"{os.fsdecode(error.filename)}: {error.strerror}. Name another path.")
        sys.exit(2)
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        notify(
            "error",
            "there is not enough memory. Use a smaller --batch-size, fewer --frames, or a smaller "
            "model.",
        )
        sys.exit(2)
    except SystemExit as end:
        if (interruption := _interruption(end)) is not None:
            notify("stopped", str(interruption) or "interrupted.")
        raise


def _interruption(error: BaseException | None) -> KeyboardInterrupt | None:
    """The Ctrl-C that typer turned into an exit status."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error
