"""`spectrim models`: what is built in."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from ..audio.constants import SAMPLE_RATE, num_samples
from .output import TableOrJson, print_json, print_table

EXAMPLE = "Example: spectrim models ast-esc10"


def command(
    name: Annotated[str | None, typer.Argument(help="Show this one's card.")] = None,
    format: Annotated[TableOrJson, typer.Option()] = TableOrJson.table,
    json: Annotated[bool, typer.Option("--json", help="Same as --format json.")] = False,
) -> None:
    """List the built-in models, or show the card of one."""
    from ..models.builtin import builtin_names, card

    cards = [card(name)] if name else [card(each) for each in builtin_names()]
    if json or format is TableOrJson.json:
        print_json({"rows": [asdict(each) for each in cards]})
        return
    if name:
        typer.echo(cards[0].text.rstrip())
        return
    rates = list(cards[0].accuracy)
    print_table(
        ["model", "tells", "classes", "window", "MB", *(f"at {rate}" for rate in rates), "on"],
        [
            [
                each.name,
                each.task,
                str(each.classes),
                f"{num_samples(each.frames) / SAMPLE_RATE:.2f} s",
                f"{each.bytes / 1e6:.1f}",
                *(f"{each.accuracy[rate]:.1f}%" for rate in rates),
                each.held_out,
            ]
            for each in cards
        ],
        "at 1.0, 0.7, 0.5: accuracy at that keep-rate by attention, not fine-tuned with pruning.\n"
        "spectrim models NAME shows a card: data, licence, training, what it is not for.",
        left=["tells", "on"],
    )
