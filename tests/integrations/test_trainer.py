"""`Trainer` with the keep-rate schedule, on a list and on a `datasets` data set."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import spectrim
from spectrim.common.errors import SpectrimError

transformers = pytest.importorskip(
    "transformers", reason="needs transformers: pip install -e '.[transformers]'"
)
pytest.importorskip("accelerate", reason="Trainer needs accelerate: pip install accelerate")
from spectrim.integrations.transformers import KeepRateSchedule, to_transformers  # noqa: E402

TRAIN_PAGE = Path(__file__).parents[2] / "docs" / "train.md"
OPTIONS = {"report_to": "none", "use_cpu": True, "disable_tqdm": True, "save_strategy": "no"}


class Recorder(transformers.TrainerCallback):  # type: ignore[misc, name-defined]
    """The keep rate of each step, and the tokens left after it in training and evaluation mode."""

    def __init__(self, features):
        self.features, self.rates, self.tokens = features, [], []

    def on_step_end(self, args, state, control, model, **kwargs):
        self.rates.append(model.training_keep_rate)
        with torch.no_grad():
            counts = []
            for is_training in (True, False):
                model.train(is_training)
                output = model(self.features, output_hidden_states=True)
                counts.append(output.hidden_states[-1].shape[1] - 2)
        model.train()
        self.tokens.append(tuple(counts))


def rows_of(model, extractor, count=8):
    rng = np.random.default_rng(0)
    batch = extractor([rng.normal(0, 0.1, 9_000) for _ in range(count)])
    return [
        {key: torch.as_tensor(values[index]) for key, values in batch.items()}
        | {"labels": index % len(model.config.id2label)}
        for index in range(count)
    ]


def trained(make, tmp_path, schedule, *callbacks, epochs=4):
    """Two steps per epoch."""
    model, extractor = to_transformers(make("ast", depth=3), labels=["cat", "dog"])
    rows = rows_of(model, extractor)
    recorder = Recorder(rows[0]["input_values"][None])
    args = transformers.TrainingArguments(
        str(tmp_path / "run"), num_train_epochs=epochs, per_device_train_batch_size=4,
        remove_unused_columns=False, learning_rate=1e-3, **OPTIONS,
    )  # fmt: skip
    trainer = transformers.Trainer(
        model, args, train_dataset=rows, processing_class=extractor,
        callbacks=[schedule, recorder, *callbacks],
    )  # fmt: skip
    trainer.train()
    return trainer, recorder


def test_the_keep_rate_falls_along_half_a_cosine(make, tmp_path):
    schedule = KeepRateSchedule(0.5, start=1, length=2, blocks=(0, 1))
    trainer, recorder = trained(make, tmp_path, schedule)
    # Epochs 0, 0.5, 1, ... of the eight steps; from epoch 1 to 3, cos goes from 1 to -1.
    falling = [0.5 + 0.25 * (1 + math.cos(math.pi * part)) for part in (0, 0.25, 0.5, 0.75)]
    assert recorder.rates == pytest.approx([1, 1, *falling, 0.5, 0.5])
    patches = 64  # of 128 frames
    for rate, (training, evaluation) in zip(recorder.rates, recorder.tokens, strict=True):
        assert training == math.ceil(round(rate * math.ceil(round(rate * patches, 6)), 6))
        assert evaluation == patches // 4  # always the final keep rate
    trainer.save_model(tmp_path / "pruned")
    saved = spectrim.load(tmp_path / "pruned")
    assert [(stage.at, stage.keep_rate) for stage in saved.plan.stages] == [(0, 0.5), (1, 0.5)]
    assert saved.labels == ["cat", "dog"] and trainer.model.training_keep_rate is None
    before = make("ast", depth=3).blocks[0].fc1.weight
    assert not torch.equal(saved.blocks[0].fc1.weight, before)  # it was trained


def test_scores_and_reductions_are_chosen_as_in_prune(make, tmp_path):
    schedule = KeepRateSchedule(0.5, length=0, score="intensity", blocks=(2,))
    trainer, recorder = trained(make, tmp_path, schedule, epochs=1)
    expected = spectrim.prune(make("ast", depth=3), 0.5, "intensity", (2,)).plan
    assert trainer.model.spectrogram_transformer.plan == expected and recorder.rates == [0.5, 0.5]


@pytest.mark.parametrize(
    "values", [{"keep_rate": 0}, {"keep_rate": 1.5}, {"start": -1}, {"length": float("nan")}]
)
def test_values_out_of_range_are_refused(values):
    with pytest.raises(SpectrimError, match=r"expected"):
        KeepRateSchedule(**values)


def test_other_models_are_refused(tmp_path):
    config = transformers.ASTConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=1, intermediate_size=32,
        max_length=32,
    )  # fmt: skip
    args = transformers.TrainingArguments(str(tmp_path), **OPTIONS)
    trainer = transformers.Trainer(
        transformers.ASTForAudioClassification(config), args, train_dataset=[{"labels": 0}],
        callbacks=[KeepRateSchedule(0.5)],
    )  # fmt: skip
    with pytest.raises(SpectrimError, match="not ASTForAudioClassification"):
        trainer.train()


def test_the_ten_lines_in_the_guide_train_on_an_audio_column(make, clips, tmp_path, monkeypatch):
    """The data set of the guide is replaced by a local one with the same columns."""
    datasets = pytest.importorskip("datasets", reason="needs datasets: pip install datasets")
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow

    (code,) = re.findall(
        r"```python\n(from datasets import .*?)```", TRAIN_PAGE.read_text("utf-8"), re.DOTALL
    )
    rows = [
        {"audio": {"bytes": path.read_bytes(), "path": path.name}, "category": name}
        for name, path in clips.items()
    ]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "clips.parquet")
    local = datasets.Dataset.from_parquet(
        str(tmp_path / "clips.parquet"), cache_dir=str(tmp_path / "cache")
    )
    monkeypatch.setattr(datasets, "load_dataset", lambda name, split: local)
    monkeypatch.setattr(spectrim, "load", lambda name: make("ast", depth=11))
    arguments = transformers.TrainingArguments
    monkeypatch.setattr(
        transformers, "TrainingArguments",
        lambda *given, **options: arguments(*given, **options | OPTIONS | {"num_train_epochs": 2}),
    )  # fmt: skip
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(code, str(TRAIN_PAGE), "exec"), names)
    monkeypatch.undo()
    saved = spectrim.load(tmp_path / "pruned")
    assert saved.labels == sorted(clips) and {s.keep_rate for s in saved.plan.stages} == {0.7}
    assert (tmp_path / "pruned" / "preprocessor_config.json").exists()
