"""`spectrim models`: the built-in models."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from ..audio.front_ends import KALDI
from .output import Output
from .tables import print_table

if TYPE_CHECKING:
    from ..models.builtin import Card

EXAMPLE = "Example: spectrim models ast-digits"


def command(
    output: Output,
    name: Annotated[str | None, typer.Argument(help="Show the card of this model.")] = None,
) -> None:
    """List the built-in models, or show the card of one."""
    from ..models.builtin import builtin_names, card

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


def _recommended(card: Card) -> list[str]:
    """The recommended plan, accuracy and MACs under it; "-" for what was not measured."""
    if card.measured is None:
        return [card.recommended_plan or "-", "-", "-"]
    accuracy, macs = card.measured.pruned, 1 / card.measured.mac_ratio
    return [card.recommended_plan or "-", f"{accuracy:.1%}", f"{macs:.0%}"]
