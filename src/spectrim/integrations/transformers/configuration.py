"""The config of a pruned model as transformers stores it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from transformers import PretrainedConfig

from ...common.errors import SpectrimError
from ...models.config import ModelConfig, activation_of
from ...models.labels import numbered
from ...models.loading.hugging_face import PROBLEMS
from ...models.loading.native import FORMAT, FORMAT_VERSION, TRANSFORMERS_TYPE
from ...models.presets import preset
from ...pruning.plan import Plan

DEFAULT_PRESET = "ast-base"
PROBLEM_TYPES = {values["activation"]: name for name, values in PROBLEMS.items()}


class SpectrimConfig(PretrainedConfig):
    """Settings and plan of a model.

    `config.json` also holds everything that Spectrim's own format needs, so `spectrim.load` reads
    the folder without transformers.

    Args:
        model: `ModelConfig.to_dict()`. The labels and the activation are those of `id2label` and
            `problem_type`, so the usual arguments of `from_pretrained` replace them. None: the
            preset "ast-base".
        plan: `Plan.to_dict()`; None: no pruning.
        kwargs: of `PretrainedConfig`.

    Raises:
        SpectrimError: a setting or a plan that Spectrim does not know.
    """

    model_type = TRANSFORMERS_TYPE

    if TYPE_CHECKING:  # fields of the class above
        id2label: dict[int, str] | None
        label2id: dict[str, int] | None
        problem_type: str | None

    # Marks of Spectrim's own format, see `models.loading.native`.
    format: str = FORMAT
    version: int = FORMAT_VERSION
    model: dict[str, Any] | None = None
    plan: dict[str, Any] | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        if self.version != FORMAT_VERSION:
            raise SpectrimError(
                f"config.json has format version {self.version!r}; this Spectrim reads version "
                f"{FORMAT_VERSION}."
            )
        if self.model is None:
            count = kwargs.get("num_labels") or len(self.id2label or ()) or 2
            self.model = preset(DEFAULT_PRESET, numbered(count), **activation_of(count)).to_dict()
        if self.plan is None:
            self.plan = Plan().to_dict()
        if self.id2label is None and kwargs.get("num_labels") is None:
            self.id2label = dict(enumerate(self.model["labels"]))
        if self.label2id is None and self.id2label is not None:
            self.label2id = {name: int(index) for index, name in self.id2label.items()}
        if self.problem_type is None:
            self.problem_type = PROBLEM_TYPES[self.model.get("activation", "sigmoid")]
        super().__post_init__(**kwargs)
        self.model_config()  # refuses a damaged file before weights are read
        self.pruning_plan()

    @property
    def hidden_size(self) -> int:
        """Width of a token."""
        return self.model_config().width

    @property
    def num_hidden_layers(self) -> int:
        """Number of blocks."""
        return self.model_config().depth

    @property
    def num_attention_heads(self) -> int:
        """Number of attention heads in each block."""
        return self.model_config().heads

    def model_config(self) -> ModelConfig:
        """The config of the Spectrim model, with the labels and activation of this config.

        Raises:
            SpectrimError: a key that is missing or unknown, or a `problem_type` that is none of a
                classifier.
        """
        if not isinstance(self.model, Mapping):
            raise SpectrimError(
                f"model is {self.model!r} in config.json; expected keys and values."
            )
        if self.problem_type not in PROBLEMS:
            raise SpectrimError(
                f"problem_type is {self.problem_type!r}; expected {' or '.join(PROBLEMS)}."
            )
        given = dict(self.model) | {"labels": self._labels()}
        if given.get("activation") != PROBLEMS[self.problem_type]["activation"]:
            given |= PROBLEMS[self.problem_type]
        return ModelConfig.from_dict(given)

    def pruning_plan(self) -> Plan:
        """The plan.

        Raises:
            SpectrimError: a plan that cannot be read, or that names code outside Spectrim.
        """
        if not isinstance(self.plan, Mapping):
            raise SpectrimError(f"plan is {self.plan!r} in config.json; expected keys and values.")
        return Plan.from_dict(self.plan)

    def to_dict(self) -> dict[str, Any]:
        """Plain data; the model has the present labels and activation."""
        return super().to_dict() | {"model": self.model_config().to_dict()}

    def _labels(self) -> list[str]:
        names = {int(index): name for index, name in (self.id2label or {}).items()}
        if sorted(names) != list(range(len(names))):
            raise SpectrimError(
                f"id2label has the keys {sorted(names)}; expected 0 to {len(names) - 1}."
            )
        return [str(names[index]) for index in range(len(names))]


def saved_plan(plan: Plan) -> dict[str, Any]:
    """A plan as plain data for a folder of transformers, which runs Spectrim's own code only.

    Raises:
        SpectrimError: a learned score or reduction, or one from outside Spectrim.
    """
    if plan.modules():
        problem = "its score or reduction is learned"
    else:
        try:
            Plan.from_dict(data := plan.to_dict())
            return data
        except SpectrimError as error:
            problem = str(error).rstrip(".")
    raise SpectrimError(
        f"transformers cannot hold the plan ({plan}): {problem}. Use Spectrim's own format "
        "(spectrim convert without --to), or another plan."
    )
