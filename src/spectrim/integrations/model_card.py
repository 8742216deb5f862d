"""The model card of a converted model: what it is, what it costs, how to use it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..common.files import save_text
from ..common.markdown import table
from ..common.text import printable, significant
from ..models.build import macs
from ..models.has_recommendation import prunes
from ..models.loading.locate import is_hub_id
from ..pruning.plan import Plan
from ..pruning.saved_plans import Measured

if TYPE_CHECKING:
    from ..models.transformer import SpectrogramTransformer

CARD = "README.md"

SPECTRIM_USE = """\
```python
import spectrim

model = spectrim.load("path/to/this/folder")
spectrim.tag(model, "street.wav")
```
"""
PIPELINE_USE = """\
```python
{imports}from transformers import pipeline

classifier = pipeline("audio-classification", model="path/to/this/folder")
classifier({"raw": samples, "sampling_rate": RATE})  # samples: mono, float32
```
"""
REGISTRATION = "import spectrim.integrations.transformers  # registers the model\n"
NEEDS_IMPORT = (
    "transformers reads this folder only after `import spectrim.integrations.transformers`, and "
    "does not need `trust_remote_code`. Install Spectrim first.\n"
)


@dataclass(frozen=True)
class CardFormat:
    """How the folder of a card is used.

    Attributes:
        library: for the hub.
        use: Markdown.
        needs_spectrim: whether the folder is read with Spectrim only.
    """

    library: str
    use: str
    needs_spectrim: bool = True


def _pipeline(imports: str) -> str:
    return PIPELINE_USE.replace("{imports}", imports)


SPECTRIM = CardFormat("spectrim", SPECTRIM_USE)
TRANSFORMERS = CardFormat("transformers", f"{NEEDS_IMPORT}\n{_pipeline(REGISTRATION)}")
PLAIN_AST = CardFormat("transformers", _pipeline(""), needs_spectrim=False)


def save_card(
    folder: Path,
    model: SpectrogramTransformer,
    card_format: CardFormat = TRANSFORMERS,
    source: str | None = None,
    measured: Measured | None = None,
) -> Path:
    """Write the card of a model as README.md.

    Args:
        source: the name that the model was loaded by; None: unknown.
        measured: what the model gave on clips; None: it was not measured.
    """
    text = card_text(model, card_format, source, measured)
    return save_text(folder / CARD, text)


def card_text(
    model: SpectrogramTransformer,
    card_format: CardFormat = TRANSFORMERS,
    source: str | None = None,
    measured: Measured | None = None,
) -> str:
    """The card of a model in Markdown; arguments as `save_card`."""
    config, cost = model.config, macs(model) / 1e9
    unpruned = macs(model.with_plan(Plan())) / 1e9
    base = None if source is None else base_model(source)
    title = printable(f"{base or 'audio classifier'}{', pruned' if prunes(model.plan) else ''}")
    rows = [
        ("base model", base or "not recorded"),
        ("plan", str(model.plan)),
        (
            "MACs per clip",
            f"{'at most ' if model.plan.is_adaptive else ''}{significant(cost)} G, "
            f"{cost / unpruned:.0%} of the unpruned model",
        ),
        (
            "window",
            f"{config.window_seconds:.2f} s ({config.frames} frames), {config.padding} padding",
        ),
        ("classes", f"{len(config.labels)}, {config.activation}"),
        ("measured", "no" if measured is None else str(measured)),
    ]
    if config.licence:
        rows.append(("licence of the base model's training recordings", config.licence))
    body = (
        f"# {title}\n\nAn audio spectrogram transformer, saved with "
        f"[Spectrim](https://pypi.org/project/spectrim/).\n\n"
        f"{table(rows, ('', ''))}\n\n## Use\n\n"
        + card_format.use.replace("RATE", str(config.sample_rate))
    )
    return f"{_metadata(card_format, title, base, measured)}\n{body}"


def base_model(source: str) -> str:
    """The name of a source for a card: a hub id whole, of a path the last part alone."""
    return source if is_hub_id(source) else Path(source).name


def _metadata(
    card_format: CardFormat, title: str, base: str | None, measured: Measured | None
) -> str:
    """The YAML block that the hub reads."""
    from huggingface_hub import EvalResult, ModelCardData

    data = ModelCardData(
        library_name=card_format.library,
        pipeline_tag="audio-classification",
        base_model=base if base and "/" in base else None,
        tags=["audio-classification", "spectrim", "token-pruning"],
    )
    if measured is not None and measured.metric != "agreement":
        result = EvalResult(
            task_type="audio-classification",
            dataset_type=measured.data,
            dataset_name=measured.data,
            metric_type=measured.metric.lower(),
            metric_value=round(measured.pruned, 4),
        )
        data.model_name, data.eval_results = title, [replace(result)]
    return f"---\n{data.to_yaml()}\n---\n"
