"""The built-in models and their cards; does not import torch."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from ..common.errors import SpectrimError, nearest
from ..common.parse import read_json
from ..pruning.saved_plans import Measured, plan_label

CARD = "card.json"
# Models that are no longer built in: their successor, and a commit that has them.
RETIRED = {
    "ast-esc10": ("ast-esc50", "2ef3654"),
    "audiomae-esc10": ("audiomae-esc50", "2ef3654"),
}
TEXT = "README.md"


@dataclass(frozen=True)
class Card:
    """A built-in model.

    Attributes:
        name: as `spectrim.load` takes it.
        text: its card, Markdown.
        classes: how many; frames: of its window, 10 ms each; bytes: of its weights.
        task: what it classifies, in a few words.
        licence: of its training recordings.
        held_out: the clips that `accuracy` was measured on; no training used them.
        accuracy: keep rate ("1.0", "0.7", "0.5" and perhaps others) to accuracy in percent, pruned
            by attention.
        recommended_plan: in a few words; measured: what it was measured on. None: the model has
            none.
    """

    name: str
    text: str
    classes: int
    frames: int
    bytes: int
    task: str
    licence: str
    held_out: str
    accuracy: dict[str, float]
    recommended_plan: str | None = None
    measured: Measured | None = None


def builtin_root() -> Path:
    """The folder that holds a folder for each built-in model."""
    return Path(str(resources.files("spectrim.assets"))) / "models"


def builtin_names() -> list[str]:
    """Names of the models that come with the package."""
    return sorted(path.parent.name for path in builtin_root().glob("*/config.json"))


def check_retired(name: str) -> None:
    """Refuse the name of a model that is no longer built in.

    Raises:
        SpectrimError: names the successor, and the last version that has the model.
    """
    if name in RETIRED and name not in builtin_names():
        successor, commit = RETIRED[name]
        raise SpectrimError(
            f"the model {name!r} is no longer built in. Use {successor!r}, which knows its sounds "
            f"and 40 more. The last version with {name} is Spectrim 0.1.0 at commit {commit}."
        )


def card(name: str) -> Card:
    """The card of a built-in model.

    Raises:
        SpectrimError: none has that name.
    """
    names = builtin_names()
    if name not in names:
        check_retired(name)
        raise SpectrimError(f"no built-in model is called {name!r}.{nearest(name, names)}")
    folder = builtin_root() / name
    whole: dict[str, Any] = read_json(folder / "config.json")
    config, recommended = whole["model"], whole.get("recommended_plan") or {}
    stored: dict[str, Any] = read_json(folder / CARD)
    measured = recommended.get("measured")
    return Card(
        name=name,
        text=(folder / TEXT).read_text(encoding="utf-8"),
        classes=len(config["labels"]),
        frames=config["frames"],
        bytes=(folder / "model.safetensors").stat().st_size,
        recommended_plan=plan_label(recommended["plan"]) if recommended else None,
        measured=None if measured is None else Measured.from_dict(measured),
        **stored,
    )
