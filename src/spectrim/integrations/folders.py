"""Folders of converted models: Spectrim's own format, and those of transformers."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..common.errors import SpectrimError
from ..common.files import written_aside
from ..models.has_recommendation import prunes
from ..models.loading.to_hugging_face import ast_differences
from ..pruning.saved_plans import Measured
from .model_card import PLAIN_AST, SPECTRIM, TRANSFORMERS, CardFormat, save_card

if TYPE_CHECKING:
    from ..models.transformer import SpectrogramTransformer

FORMATS = ("spectrim", "transformers")


def check_new_folder(folder: Path) -> None:
    """Refuse a place that holds anything.

    Raises:
        SpectrimError: the path is a file, or a folder with content.
    """
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if folder.exists() or folder.is_symlink():
        obstacle = "holds files" if folder.is_dir() else "is a file"
        raise SpectrimError(
            f"{folder} {obstacle}, and nothing was changed. Name a new folder, or delete it first."
        )


def check_format(name: str) -> None:
    """Refuse an unknown format.

    Raises:
        SpectrimError: names the known ones.
    """
    if name not in FORMATS:
        raise SpectrimError(f"no format is called {name!r}. Known: {', '.join(FORMATS)}.")


def not_plain(model: SpectrogramTransformer) -> list[str]:
    """Why transformers cannot read a model without Spectrim; empty: it can."""
    if prunes(model.plan):
        return [f"it prunes ({model.plan})"]
    return ast_differences(model.config)


def save_folder(
    model: SpectrogramTransformer,
    folder: Path,
    to: str = "spectrim",
    *,
    source: str | None = None,
    measured: Measured | None = None,
) -> CardFormat:
    """Write a model with its plan and a model card into a new folder, whole or not at all.

    Args:
        to: "spectrim" for Spectrim's own format; "transformers" for a folder that transformers
            reads, without Spectrim if `not_plain` is empty.
        source, measured: for the card, see `save_card`.

    Returns:
        The format: `SPECTRIM`, `TRANSFORMERS` or `PLAIN_AST`.

    Raises:
        SpectrimError: the folder holds anything; an unknown format; transformers is not installed,
            or cannot hold the plan.
    """
    check_format(to)
    check_new_folder(folder)
    card_format, write = _writer(model, to)
    with written_aside(folder) as aside:
        try:
            write(aside)
            save_card(aside, model, card_format, source, measured)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
    return card_format


def _writer(model: SpectrogramTransformer, to: str) -> tuple[CardFormat, Callable[[Path], object]]:
    """The format of a folder, and the function that writes it."""
    if to == "spectrim":
        return SPECTRIM, model.save
    from .transformers import quiet, to_ast, to_transformers

    is_plain = not not_plain(model)
    with quiet():
        savables = to_ast(model) if is_plain else to_transformers(model)

    def write(folder: Path) -> None:
        with quiet():
            for savable in savables:
                savable.save_pretrained(folder)

    return (PLAIN_AST if is_plain else TRANSFORMERS), write
