"""`spectrim models`: the built-in models, and the models of other projects that load."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..audio.front_ends import KALDI
from ..common.errors import SpectrimError
from .output import Output
from .tables import PAGE, print_table

if TYPE_CHECKING:
    from ..models.builtin_models import Card

EXAMPLE = "Example: spectrim models ast-digits"


def command(
    output: Output,
    name: Annotated[str | None, typer.Argument(help="Show the card of this model.")] = None,
    formats: Annotated[
        bool, typer.Option("--formats", help="List the supported models of other projects.")
    ] = False,
) -> None:
    """List the built-in models, show the card of one, or list the supported formats."""
    from ..models.builtin_models import builtin_names, card

    if formats:
        if name:
            raise SpectrimError("--formats lists every format. Leave out the name of the model.")
        _list_formats(output)
        return
    cards = [card(name)] if name else [card(known) for known in builtin_names()]

    def print_cards() -> None:
        if name:
            typer.echo(cards[0].text.rstrip())
            return
        print_table(
            ["model", "task", "window s", "unpruned", "plan",
             "accuracy", "MACs", "tested on"],
            [
                [
                    card.name,
                    card.task,
                    f"{KALDI.seconds(card.frames):.2f}",
                    f"{card.accuracy['1.0']:.1f}%",
                    *_recommended(card),
                    card.held_out,
                ]
                for card in cards
            ],
            "unpruned: accuracy. plan: the recommended plan, followed by its accuracy and MACs.\n"
            "`spectrim models NAME` shows a card: data, licence, training, limits.",
            wrapped={"task": " ", "plan": " ", "tested on": " "},
        )  # fmt: skip

    output.emit({"rows": [asdict(card) for card in cards]}, print_cards)


def _list_formats(output: Output) -> None:
    from ..models.loading.formats import FORMATS
    from ..models.presets import PRESETS

    rows = [
        {"format": known.NAME, **asdict(support), "presets": _presets(PRESETS, support.family)}
        for known in FORMATS
        for support in known.SUPPORT
    ]

    def print_formats() -> None:
        columns = ["models", "loaded from", "licence", "verified against"]
        keys = ("models", "sources", "licence", "verified")
        print_table(
            columns,
            [[row[key] for key in keys] for row in rows],
            "verified against: logits and kept patches are equal for random weights in the layout "
            "of the\npublished files.\n" + _presets_in_lines(PRESETS),
            wrapped=dict.fromkeys(columns, " "),
            piped_width=PAGE,
        )

    output.emit({"rows": rows}, print_formats)


def _presets_in_lines(names: Iterable[str]) -> str:
    return textwrap.fill(f"Presets: {', '.join(names)}.", 98, break_on_hyphens=False)


def _presets(presets: dict[str, dict[str, Any]], family: str) -> list[str]:
    return [name for name, values in presets.items() if values["family"] == family]


def _recommended(card: Card) -> list[str]:
    """The recommended plan, accuracy and MACs under it; "-" for what was not measured."""
    if card.measured is None:
        return [card.recommended_plan or "-", "-", "-"]
    accuracy, macs = card.measured.pruned, 1 / card.measured.mac_ratio
    return [card.recommended_plan or "-", f"{accuracy:.1%}", f"{macs:.0%}"]
