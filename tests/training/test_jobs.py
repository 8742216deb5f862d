"""What a batch becomes: masks and noise in their time, targets, a teacher's logits."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

import spectrim
from data.slow_stats import mean_and_std
from spectrim.audio.decode import read
from spectrim.audio.front_ends import front_end
from spectrim.common.errors import SpectrimError
from spectrim.models.presets import preset
from spectrim.models.transformer import SpectrogramTransformer
from spectrim.training.jobs import Pretraining, Supervision
from spectrim.training.read_recipe import read_recipe
from spectrim.training.recipe import PretrainRecipe, Recipe
from spectrim.training.task import resolve_pretraining, resolve_task

CHANGES = ("model.mean=-5", "model.std=3", "optim.batch_size=8", "seed=3")


@pytest.fixture
def job(recipe: Path, tmp_path: Path):
    """`job("keep_rate=1.0")`: the tones' recipe with changes; three steps an epoch."""

    def job(*changes: str) -> Supervision:
        read = read_recipe(recipe, (*CHANGES, *changes), Recipe)
        return Supervision(read, resolve_task(read), tmp_path / "cache", 0, 1)

    return job


def steps_of(job, epochs: int):
    """(epoch so far, batch, arguments of the objective) of each step."""
    for epoch in range(epochs):
        for step, batch in enumerate(job.loader.epoch(epoch)):
            now = epoch + step / job.loader.steps
            yield now, batch, job.inputs(batch, now)


def is_masked(job, inputs) -> bool:
    """Whether some frame, all its bins, is 0 before normalising and before the noise."""
    log_mel = inputs["features"] * 2 * job.model.config.std + job.model.config.mean
    most = 2 * job.model.config.std * job.augment.noise
    return bool(((log_mel > -1e-4) & (log_mel < most + 1e-4)).all(2).any())


def test_masks_end_with_the_step_in_which_pruning_starts(job):
    """It starts at epoch 1/2: of three steps an epoch, the third is the first that is pruned."""
    rates, made = [], job("augment.spec_time=60")
    for now, batch, inputs in steps_of(made, 2):
        rates.append(inputs["keep_rate"])
        if now < 0.5:
            # int(0.7 * 4) = 2 columns times int(0.7 * 8) = 5 rows
            assert inputs["keep"].sum(1).tolist() == [10] * 8
            assert is_masked(made, inputs)
        else:
            assert inputs["keep"] is None
            assert not is_masked(made, inputs)
        # Noise and shift go on: with the same waveforms, the features differ without them.
        waveforms, lengths, _ = made.sounds(batch)
        plain, valid = made.model.features_from_batch(waveforms, lengths)
        moved = batch.draws.shift[batch.positions] != 0
        assert moved.any() and not torch.isclose(plain, inputs["features"]).flatten(1).all(1).any()
        assert (inputs["valid"] != valid)[moved & (valid < 50) & (valid > 12)].all()
    progress = [0, 0, 1 / 6, 1 / 2, 5 / 6, 1]  # an epoch long, from 1/2 on
    by_hand = [0.6 + 0.4 * (1 + np.cos(np.pi * share)) / 2 for share in progress]
    assert rates == pytest.approx(by_hand)


def test_at_keep_rate_1_masks_stay_on_to_the_end(job):
    made = job("keep_rate=1.0", "augment.spec_time=60")
    for _, _, inputs in steps_of(made, 3):
        assert inputs["keep_rate"] == 1.0
        assert inputs["keep"].sum(1).tolist() == [10] * 8
        assert is_masked(made, inputs)


def test_without_token_masking_every_patch_is_seen(job):
    for _, _, inputs in steps_of(job("augment.token_columns=1", "augment.token_rows=1"), 1):
        assert inputs["keep"] is None


def test_evaluation_prunes_by_the_final_keep_rate(job):
    assert [stage.keep_rate for stage in job().model.plan.stages] == [0.6] * 3


def test_masked_bins_are_zero_before_normalising(job):
    changes = ("keep_rate=1.0", "augment.noise=0", "augment.shift=0", "augment.mixup=0")
    plain = job(*changes, "augment.spec_time=0", "augment.spec_frequency=0")
    masked = job(*changes)
    for (_, batch, inputs), (_, _, others) in zip(
        steps_of(masked, 1), steps_of(plain, 1), strict=True
    ):
        for clip, position in enumerate(batch.positions.tolist()):
            hit = torch.zeros(64, 128, dtype=torch.bool)
            hit[slice(*batch.draws.time[position].tolist())] = True
            hit[:, slice(*batch.draws.frequency[position].tolist())] = True
            log_mel = inputs["features"][clip] * 2 * 3 - 5
            assert log_mel[hit].abs().max() < 1e-5 if hit.any() else True
            assert torch.equal(inputs["features"][clip][~hit], others["features"][clip][~hit])


def test_targets_are_the_shares_of_what_is_mixed(job):
    made = job("augment.mixup=1.0")
    labels = made.task.labels
    assert labels == ("high", "low", "middle")
    for _, batch, inputs in steps_of(made, 2):
        assert inputs["targets"].sum(1).tolist() == pytest.approx([1] * 8)
        assert inputs["weights"].tolist() == pytest.approx([1 / 8] * 8)
        for position, row in zip(batch.positions.tolist(), inputs["targets"].tolist(), strict=True):
            by_hand = dict.fromkeys(labels, 0.0)
            share = batch.draws.share[position].item()
            assert 0 < share < 1
            by_hand[made.task.train[position].labels[0]] += share
            partner = int(batch.draws.partner[position])
            by_hand[made.task.train[partner].labels[0]] += 1 - share
            assert row == pytest.approx(list(by_hand.values()))


def test_without_augmentation_a_batch_is_what_the_model_hears(recipe, tmp_path):
    plain = (
        recipe.read_text().split("augment:")[0] + "optim:" + recipe.read_text().split("optim:")[1]
    )
    recipe.write_text(plain)
    read_ = read_recipe(recipe, (*CHANGES, "keep_rate=1.0"), Recipe)
    made = Supervision(read_, resolve_task(read_), tmp_path / "cache", 0, 1)
    for _, batch, inputs in steps_of(made, 1):
        clips = [made.task.train[position] for position in batch.positions.tolist()]
        features, valid = made.model.features([(read(clip.path), 16_000) for clip in clips])
        assert torch.allclose(inputs["features"], features, atol=2e-4)
        assert torch.equal(inputs["valid"], valid)
        assert inputs["keep"] is None and "teacher" not in inputs


def test_a_teachers_classes_are_put_in_the_tasks_order(job, tmp_path):
    teacher = spectrim.create("ast-tiny", frames=128, labels=("middle", "high", "low"))
    torch.nn.init.normal_(teacher.head.bias)
    folder = teacher.save(tmp_path / "teacher")
    made = job(f"teacher.model={folder}", "keep_rate=1.0", "augment.mixup=0")
    teacher = spectrim.load(folder, frames=64)
    _, batch, inputs = next(steps_of(made, 1))
    waveforms, lengths, _ = made.sounds(batch)
    features, valid = teacher.features(
        [(wave[:length], 16_000) for wave, length in zip(waveforms, lengths, strict=True)]
    )
    with torch.no_grad():
        logits = teacher(features, valid)
    by_name = {label: logits[:, at] for at, label in enumerate(teacher.labels)}
    expected = torch.stack([by_name[label] for label in made.task.labels], 1)
    assert torch.allclose(inputs["teacher"], expected, atol=1e-4)
    assert not any(p.requires_grad for p in made.teacher.parameters())
    assert not any("teacher" in name for name, _ in made.objective.named_parameters())


def test_a_teacher_of_other_classes_is_refused(job, tmp_path):
    folder = spectrim.create("ast-tiny", frames=64, labels=("a", "b", "c")).save(tmp_path / "t")
    with pytest.raises(spectrim.SpectrimError, match=r"teacher\.model .*classes"):
        job(f"teacher.model={folder}")


def test_the_same_recipe_starts_from_the_same_weights(job):
    one, same, other = (job(f"seed={seed}").model.state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["head.weight"], other["head.weight"])


@pytest.mark.parametrize("std", [2e-5, 0.02])
def test_a_fresh_head_is_as_small_as_the_recipe_says(job, std):
    model = job(f"model.head_std={std}", "model.drop_path=0.1").model
    assert model.head.weight.std().item() == pytest.approx(std, rel=0.15)
    assert model.head.weight.abs().max() < 10 * std
    assert not model.head.bias.any()
    assert torch.equal(model.head_norm.weight, torch.ones(128))
    drops = [block.drop_path for block in model.blocks]
    assert drops == pytest.approx(np.linspace(0, 0.1, 12).tolist())


def test_a_fresh_head_forgets_the_normalisation_of_the_old_one(job, tmp_path: Path) -> None:
    old = spectrim.create("ast-tiny", frames=64, classes=5)
    for parameter in old.head_norm.parameters():
        torch.nn.init.constant_(parameter, 0.3)
    model = job(f"init={old.save(tmp_path / 'start')}").model
    assert torch.equal(model.head_norm.weight, torch.ones(128))
    assert torch.equal(model.head_norm.bias, torch.zeros(128))
    assert torch.equal(model.head.bias, torch.zeros(3))


def test_pre_training_hides_so_many_patches_of_each_clip(tones, tmp_path):
    path = tmp_path / "pretrain.yaml"
    path.write_text(
        f"model: {{preset: audiomae-tiny, frames: 64, mean: -5, std: 3}}\n"
        f"data: {{manifest: {tones}}}\ndecoder_width: 32\ndecoder_depth: 1\ndecoder_heads: 2\n"
        "optim: {lr: 1.0e-3, batch_size: 8}\n"
    )
    read_ = read_recipe(path, (), PretrainRecipe)
    made = Pretraining(read_, resolve_pretraining(read_), tmp_path / "cache", 0, 1)
    masks = []
    for now, _, inputs in steps_of(made, 2):
        assert inputs["keep"].sum(1).tolist() == [int(32 * 0.2)] * 8
        assert made.keep_rate(now) == 1.0
        assert torch.isfinite(made.objective(**inputs))
        masks += [tuple(row) for row in inputs["keep"].tolist()]
    assert len(set(masks)) == len(masks) == 48  # other patches in each clip and epoch


def test_the_recipes_seed_decides_what_random_drops(job) -> None:
    assert [job(f"seed={seed}", "score=random").model.plan.seed for seed in (3, 4)] == [3, 4]


def test_a_head_that_stays_has_targets_in_its_own_order(job, tmp_path: Path) -> None:
    """Its classes are the data's, which stand in the order of the alphabet there."""
    labels = ["middle", "low", "high"]
    folder = spectrim.create("ast-tiny", frames=64, labels=labels).save(tmp_path / "start")
    made = job(f"init={folder}", "augment.mixup=0")
    assert list(made.task.labels) == made.model.labels == labels
    for _, batch, inputs in steps_of(made, 1):
        for position, target in zip(batch.positions.tolist(), inputs["targets"], strict=True):
            clip = made.task.train[position]
            assert labels[int(target.argmax())] == clip.labels[0]


def test_mean_and_std_are_of_the_training_clips(recipe: Path) -> None:
    task = resolve_task(read_recipe(recipe, [], Recipe))
    mean, std = mean_and_std(task.train)
    assert (task.features.mean, task.features.std) == pytest.approx((mean, std), abs=1e-4)
    assert (task.features.mean, task.features.std) != pytest.approx(
        mean_and_std(task.train + task.test), abs=1e-4
    )


@pytest.mark.parametrize(("span", "frames"), [(("2", "3"), 112), (("", "60"), 1024)])
def test_the_length_is_of_the_parts_that_are_clips(tones, recipe, tmp_path, span, frames) -> None:
    """A second from 2 s to 3 s; a minute is longer than any model that chooses for itself."""
    rows = list(csv.DictReader(tones.open()))
    part = tmp_path / "part.csv"
    with part.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ["path", "label", "split", "start", "end"])
        writer.writeheader()
        for row in rows:
            path = str(tones.parent / row["path"])
            writer.writerow(row | {"path": path, "start": span[0], "end": span[1]})
    words = [f"data.manifest={part}", "model.frames=null", "model.mean=-5", "model.std=3"]
    assert resolve_task(read_recipe(recipe, words, Recipe)).features.frames == frames


@pytest.mark.parametrize(
    ("name", "rate", "mels"), [("passt-mel", 32_000, 128), ("htk-mel", 16_000, 64)]
)
def test_features_are_those_of_the_model_that_the_run_starts_from(
    job, tmp_path, name, rate, mels
) -> None:
    """Sample rate, front end and normalisation of each mel bin, as the model has them."""
    scale = tuple(np.linspace(0.5, 2.0, mels).tolist()) if name == "htk-mel" else ()
    config = preset(
        "ast-tiny", ("a", "b"), depth=1, frames=64, mels=mels, front_end=name, sample_rate=rate,
        std_factor=1.0, mean=-4.0, std=6.0, mel_scale=scale,
    )  # fmt: skip
    folder = SpectrogramTransformer(config).save(tmp_path / "start")
    changes = (f"init={folder}", "model.mean=null", "model.std=null", "keep_rate=1.0", "blocks=[0]",
               "augment.spec_time=0", "augment.spec_frequency=0", "augment.noise=0",
               "augment.roll=false", "augment.gain=false", "augment.shift=0", "augment.mixup=0",
               "augment.join=false")  # fmt: skip
    made = job(*changes)
    audio, ours = made.task.features.audio, made.model.config
    assert (ours.sample_rate, ours.front_end, ours.mels) == (rate, name, mels)
    assert audio == front_end(name)
    waveforms = [read(clip.path, clip.start, clip.end, rate=rate) for clip in made.task.train]
    if scale:  # the statistics of the checkpoint's mel bins stay
        assert (ours.mean, ours.std, ours.mel_scale) == (-4.0, 6.0, scale)
    else:
        bank = front_end(name).filter_bank(mels)
        values = torch.cat([bank(torch.from_numpy(wave)[None])[0].flatten() for wave in waveforms])
        assert ours.mean == pytest.approx(values.mean().item(), abs=0.02)
        assert ours.std == pytest.approx(values.std().item(), abs=0.02)
    _, batch, inputs = next(iter(steps_of(made, 1)))
    chosen = [waveforms[position] for position in batch.positions.tolist()]
    expected, valid = made.model.features_from_waveforms(chosen)  # as when the model is run
    assert torch.equal(inputs["valid"], valid)
    assert torch.allclose(inputs["features"], expected, atol=1e-3)


def test_a_teacher_with_other_frames_is_refused(job, tmp_path) -> None:
    config = preset(
        "ast-tiny", ("a", "b"), depth=1, frames=64, front_end="passt-mel", sample_rate=32_000
    )
    folder = SpectrogramTransformer(config).save(tmp_path / "teacher")
    with pytest.raises(SpectrimError, match="it takes 32000 Hz and a frame every 320 samples"):
        job(f"teacher.model={folder}", "teacher.weight=0.5")
