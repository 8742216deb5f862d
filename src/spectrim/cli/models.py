"""`spectrim models`: the built-in models."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from ..audio.constants import SAMPLE_RATE, num_samples
from .output import Output
from .tables import print_table

EXAMPLE = "Example: spectrim models ast-digits"
RATES = ("1.0", "0.7", "0.5")  # columns of the table; a card has more


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
            ["model", "task", "classes", "window s", "MB", *(f"at {rate}" for rate in RATES),
             "tested on"],
            [
                [
                    card.name,
                    card.task,
                    str(card.classes),
                    f"{num_samples(card.frames) / SAMPLE_RATE:.2f}",
                    f"{card.bytes / 1e6:.1f}",
                    *(f"{card.accuracy[rate]:.1f}%" for rate in RATES),
                    card.held_out,
                ]
                for card in cards
            ],
            f"at {', '.join(RATES)}: accuracy at this keep rate (attention score).\n"
            "`spectrim models NAME` shows a card: data, licence, training, limits.",
            wrapped={"task": " ", "tested on": " "},
        )  # fmt: skip

    output.emit({"rows": [asdict(card) for card in cards]}, print_cards)
