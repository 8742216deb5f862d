"""The keep-rate schedule of `spectrim train` for the Trainer of transformers."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ...common.errors import SpectrimError
from ...pruning.stage import check_keep_rate
from ...training.recipe import SchedulePart
from ...training.schedules import keep_rate_at
from .modeling import SpectrimForAudioClassification


class KeepRateSchedule(TrainerCallback):
    """Lowers the keep rate step by step while `Trainer` fine-tunes a model.

    The keep rate is 1.0 for `start` epochs. It then falls to `keep_rate` over `length` epochs along
    half a cosine. Evaluation and saved models always use the final keep rate.

    Args:
        keep_rate: the final keep rate of each stage.
        start, length: in epochs, from 0; fractions are allowed.
        options: as for `spectrim.prune`, such as score, blocks and reduction.

    Raises:
        SpectrimError: a value out of range. When training starts: a model that does not come from
            Spectrim, or a plan that transformers cannot hold.
    """

    def __init__(
        self, keep_rate: float = 0.7, *, start: float = 0.0, length: float = 1.0, **options: Any
    ) -> None:
        for name, value in (("start", start), ("length", length)):
            if not 0 <= value < float("inf"):
                raise SpectrimError(f"{name} is {value}; expected a number of epochs from 0.")
        check_keep_rate(keep_rate)
        self.keep_rate, self.options = keep_rate, options
        self.schedule = SchedulePart(start=start, length=length)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Give the model the plan with the final keep rate."""
        _spectrim_model(kwargs["model"]).prune(self.keep_rate, **self.options)

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Set the keep rate of the next step."""
        epoch = state.epoch or 0.0
        rate = keep_rate_at(epoch, self.keep_rate, self.schedule)
        _spectrim_model(kwargs["model"]).training_keep_rate = rate

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """From here on, training mode prunes at the final keep rate too."""
        _spectrim_model(kwargs["model"]).training_keep_rate = None


def _spectrim_model(model: Any) -> SpectrimForAudioClassification:
    while not isinstance(model, SpectrimForAudioClassification) and hasattr(model, "module"):
        model = model.module  # a wrapper for several processes
    if not isinstance(model, SpectrimForAudioClassification):
        raise SpectrimError(
            f"KeepRateSchedule requires a SpectrimForAudioClassification, not "
            f"{type(model).__name__}. Convert the model first: "
            "to_transformers(spectrim.load(...))."
        )
    return model
