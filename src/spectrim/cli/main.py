"""The program `spectrim`: its commands, and how errors end it."""

from __future__ import annotations

import io
import os
import sys
import warnings
from typing import Annotated

import typer

from ..common.errors import SpectrimError, SpectrimNotice
from ..version import __version__
from . import (
    ablate,
    analyze,
    bench,
    check,
    data,
    export,
    grid,
    macs,
    models,
    pretrain,
    sweep,
    tag,
    train,
)
from .output import complain

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
)
app.command("sweep", epilog=sweep.EXAMPLE)(sweep.command)
app.command("tag", epilog=tag.EXAMPLE)(tag.command)
app.command("check", epilog=check.EXAMPLE)(check.command)
app.command("analyze", epilog=analyze.EXAMPLE)(analyze.command)
app.command("ablate", epilog=ablate.EXAMPLE)(ablate.command)
app.command("export", epilog=export.EXAMPLE)(export.command)
app.command("bench", epilog=bench.EXAMPLE)(bench.command)
app.command("macs", epilog=macs.EXAMPLE)(macs.command)
app.command("models", epilog=models.EXAMPLE)(models.command)
app.command("train", epilog=train.EXAMPLE)(train.command)
app.command("pretrain", epilog=pretrain.EXAMPLE)(pretrain.command)
app.add_typer(grid.app, name="grid")
app.add_typer(data.app, name="data")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"spectrim {__version__}")
        raise typer.Exit


@app.callback(epilog="Example: spectrim sweep --model ast-digits --data clips.csv")
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Cheaper audio spectrogram transformers, by dropping the patches that do not matter."""


def main() -> None:
    """Run the command line: exit status 2 for a wrong call, 1 when some items failed."""
    warnings.simplefilter("always", SpectrimNotice)
    plain = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *rest: object) -> None:
        if issubclass(category, SpectrimNotice):
            complain("note", str(message))
        else:
            plain(message, category, *rest)  # type: ignore[arg-type]

    warnings.showwarning = show  # type: ignore[assignment]
    for stream in (sys.stdout, sys.stderr):  # a file's name need not be text in the terminal's code
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except SpectrimError as error:
        complain("error", str(error))
        sys.exit(2)
    except SystemExit as end:
        if (stop := _interruption(end)) is not None:
            complain("stopped", str(stop) or "interrupted.")
        raise
    except BrokenPipeError:  # the reader of a pipe, such as head, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _interruption(end: BaseException | None) -> KeyboardInterrupt | None:
    """The Ctrl-C that typer has made an exit status of."""
    while end is not None and not isinstance(end, KeyboardInterrupt):
        end = end.__cause__ or end.__context__
    return end
