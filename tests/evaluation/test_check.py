"""`check`: parity with transformers on its own format, and the recommendation."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile
import torch
from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification

import spectrim
from spectrim.common.errors import SpectrimError
from spectrim.common.interruption import Stopped
from spectrim.data.manifest import read_data
from spectrim.evaluation import check as module
from spectrim.evaluation.check import check, clips_needed, order_of_timing, parity, recommend
from spectrim.metrics.intervals import share_interval


@pytest.fixture(scope="module")
def hugging(tmp_path_factory):
    """A folder as transformers writes it, and a folder of clips, some of them short."""
    root = tmp_path_factory.mktemp("hugging")
    torch.manual_seed(0)
    config = ASTConfig(
        hidden_size=64, num_hidden_layers=12, num_attention_heads=4, intermediate_size=256,
        max_length=100, num_labels=7, frequency_stride=16, time_stride=16,
        initializer_range=0.3,
    )  # fmt: skip
    ASTForAudioClassification(config).save_pretrained(root / "model")
    ASTFeatureExtractor(max_length=100, mean=-5.0, std=4.0).save_pretrained(root / "model")
    (root / "clips").mkdir()
    rng = np.random.default_rng(0)
    for number in range(6):
        sound = rng.normal(0, 0.1, 6000 + 4000 * number) * np.hanning(6000 + 4000 * number)
        soundfile.write(root / "clips" / f"{number}.wav", sound, 16_000)
    return root


def test_parity_with_transformers(hugging):
    name = str(hugging / "model")
    clips = read_data(hugging / "clips")
    model = spectrim.load(name)
    found = check(model, name, clips, budget=0, batch_size=3)
    parity = found["parity"]
    assert parity["status"] == "same" and parity["clips"] == 6
    assert parity["logits"] < 1e-4 and parity["features"] < 2e-3 and parity["end_to_end"] < 5e-2
    with torch.no_grad():
        model.blocks[5].fc1.weight[0, 0] += 5  # read wrongly
    parity = check(model, name, clips, budget=0, keep_rates=[1.0])["parity"]
    assert (parity["status"], parity["reason"]) == (
        "different",
        "the networks, given the same features",
    )


def test_a_part_of_a_file_that_cannot_be_read_is_left_out(hugging, tmp_path):
    """The file itself can, so that only places in the manifest tell the clips apart."""
    spans = ["0,0.4", "0.4,0.9", "7,8", "8,9"]
    (tmp_path / "parts.csv").write_text(
        "path,start,end\n" + "".join(f"{hugging / 'clips' / '5.wav'},{span}\n" for span in spans)
    )
    model = spectrim.load(hugging / "model")
    found = check(model, str(hugging / "model"), read_data(tmp_path / "parts.csv"), budget=0)
    assert found["parity"]["status"] == "same" and found["parity"]["clips"] == 2
    assert len(found["failures"]) == 2 and found["rows"][0]["failed"] == 2


def test_a_foreign_extractor_is_not_run_and_the_networks_are_compared(hugging, tmp_path):
    """MAEST's extractor is code in its folder; its network is transformers' AST."""
    config = ASTConfig(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=256,
        max_length=64, num_mel_bins=96, num_labels=3,
    )  # fmt: skip
    ASTForAudioClassification(config).save_pretrained(tmp_path)
    extractor = {"feature_extractor_type": "MAESTFeatureExtractor", "num_mel_bins": 96}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(extractor))
    result = parity(spectrim.load(tmp_path), str(tmp_path), read_data(hugging / "clips").clips)
    assert result["status"] == "same" and result["logits"] < 1e-4
    assert "features" not in result and "end_to_end" not in result


@pytest.mark.parametrize("wrong", [{"mean": 0.0}, {"std": 2.0}, {"padding": "minimum"}])
def test_features_made_otherwise_are_not_the_same(hugging, wrong):
    name = str(hugging / "model")
    parity = check(
        spectrim.load(name, **wrong), name, read_data(hugging / "clips"), budget=0, keep_rates=[1.0]
    )["parity"]
    assert parity["status"] == "different" and "mean, std or padding" in parity["reason"]
    assert "networks" not in parity["reason"]


def test_half_precision_is_judged_by_its_own_measure(hugging):
    name, clips = str(hugging / "model"), read_data(hugging / "clips")
    model = spectrim.load(name, dtype="bfloat16")
    assert check(model, name, clips, budget=0, keep_rates=[1.0])["parity"]["status"] == "same"
    with torch.no_grad():
        model.head.weight.neg_()
    assert check(model, name, clips, budget=0, keep_rates=[1.0])["parity"]["status"] == "different"


def test_what_transformers_cannot_read_is_said(hugging, tmp_path):
    spectrim.create("ast-tiny", frames=64, classes=3).save(tmp_path / "ours")
    clips = read_data(hugging / "clips")
    name = str(tmp_path / "ours")
    parity = check(spectrim.load(name), name, clips, budget=0, keep_rates=[1.0])["parity"]
    assert parity["status"] == "not checked" and "Hugging Face" in parity["reason"]
    shorter = spectrim.load(hugging / "model", frames=50)
    parity = check(shorter, str(hugging / "model"), clips, budget=0, keep_rates=[1.0])["parity"]
    assert "length is 100" in parity["reason"]


def rows(*lows, score="attention", gain=1.0):
    """The unpruned row, then 0.9, 0.8 and 0.7 with these lower ends of their agreement."""
    full = {"keep_rate": 1.0, "score": None, "speedup": 1.0, "gmacs": 1.0,
            "agreement": {"top1": {"value": 1.0, "low": 0.99}}}  # fmt: skip
    return [full] + [
        {"keep_rate": rate, "score": score, "speedup": gain * (3 - 2 * rate), "gmacs": rate,
         "agreement": {"top1": {"value": 1.0, "low": low}}}
        for rate, low in zip((0.9, 0.8, 0.7), lows, strict=False)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("lows", "wanted"),
    [((0.99, 0.97, 0.96), 0.7), ((0.99, 0.90, 0.96), 0.9), ((0.9, 0.99, 0.99), 1.0)],
)
def test_the_lowest_rate_is_recommended_down_to_which_all_agree(lows, wanted):
    """By the lower end of the interval: the value is 1.0 in all of these rows."""
    assert recommend(rows(*lows), 0.95)["keep_rate"] == wanted


def test_the_fastest_score_is_recommended_and_never_the_control():
    """Attention to 0.8, intensity to 0.7 and faster, random faster still."""
    table = rows(0.99, 0.97, 0.90)
    table += rows(0.99, 0.97, 0.96, score="intensity", gain=1.2)[1:]
    table += rows(0.99, 0.99, 0.99, score="random", gain=2.0)[1:]
    best = recommend(table, 0.95)
    assert (best["score"], best["keep_rate"]) == ("intensity", 0.7)
    assert best["speedup"] == pytest.approx(1.2 * 1.6) and best["mac_ratio"] == pytest.approx(
        1 / 0.7
    )
    assert recommend([table[0], *table[-3:]], 0.95)["keep_rate"] == 1.0
    order = order_of_timing(table, 0.95)
    assert [(table[n]["score"], table[n]["keep_rate"]) for n in order[:2]] == [
        ("intensity", 0.7), ("attention", 0.8),
    ]  # fmt: skip
    assert sorted(order) == list(range(10)) and {table[n]["score"] for n in order[-3:]} == {
        "random"
    }


def test_without_times_macs_decide():
    table = [row | {"speedup": None} for row in rows(0.99, 0.97, 0.96)]
    best = recommend(table, 0.95)
    assert (best["keep_rate"], best["speedup"]) == (0.7, None)
    almost = [row | {"gmacs": 0.97} if row["score"] else row for row in table]
    assert recommend(almost, 0.95)["keep_rate"] == 1.0


def test_where_clips_keep_different_numbers_of_patches_their_mean_decides():
    """The bound of an adaptive reduction would recommend nothing: it is as high as unpruned."""
    table = [row | {"speedup": None} for row in rows(0.99)]
    table[1] |= {"gmacs": 1.0, "mean_gmacs": 0.5}
    best = recommend(table, 0.95)
    assert (best["keep_rate"], best["gmacs"], best["mac_ratio"]) == (0.9, 0.5, 2.0)


@pytest.mark.parametrize("agreement", [0.5, 0.9, 0.95, 0.99])
def test_the_fewest_clips_that_can_show_an_agreement(agreement):
    clips = clips_needed(agreement)
    assert share_interval(clips, clips).low >= agreement > share_interval(clips - 1, clips - 1).low
    assert clips_needed(1.0) is None


def test_sections_come_in_the_order_of_need_and_survive_ctrl_c(hugging):
    """The model and parity before any clip is evaluated; then Ctrl-C after one, three, all."""
    name, clips = str(hugging / "model"), read_data(hugging / "clips")
    sections = []

    def stop_after(batches):
        done = []

        def steps(kind, count):
            sections.append(kind)
            done.append(count)
            if len(done) == batches + 1:
                raise KeyboardInterrupt

        return steps

    def call(batches):
        sections.clear()
        with pytest.raises(Stopped) as stopped:
            check(spectrim.load(name), name, clips, scores=["intensity"], keep_rates=[0.5],
                  report=lambda section, result: sections.append((section, sorted(result))),
                  budget=60, rounds=2, steps=stop_after(batches))  # fmt: skip
        return stopped.value.result

    result = call(0)
    assert result["stopped"] is True and "rows" not in result
    assert result["parity"]["status"] == "same" and sections[-1] == "clips"
    assert [entry[0] for entry in sections[:2]] == ["model", "parity"]
    assert "parity" not in sections[0][1] and "parity" in sections[1][1]
    result = call(1)
    assert [row["clips"] for row in result["rows"]] == [1, 1] and result["stopped"]
    assert [row["clips_asked"] for row in result["rows"]] == [6, 6]
    assert result["recommendation"]["keep_rate"] == 1.0
    result = call(4)  # 1, 2 and 3 clips, then the first timed pair
    assert [row["clips"] for row in result["rows"]] == [6, 6]
    assert result["rows"][1]["timing_rounds"] == 1


def test_parity_ends_after_its_time(hugging, monkeypatch):
    now = iter([0.0, 3.0, 11.0])  # seconds at the start, and after the first and second clip
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(now))
    name = str(hugging / "model")
    parity = module.parity(spectrim.load(name), name, read_data(hugging / "clips").clips)
    assert (parity["status"], parity["clips"]) == ("same", 2)


def test_an_agreement_out_of_range(hugging):
    with pytest.raises(SpectrimError, match="agreement of 0"):
        check(spectrim.create("ast-tiny"), "x", read_data(hugging / "clips"), agreement=0)


def test_what_is_not_faster_is_not_recommended():
    slow = rows(0.99, 0.99, 0.99, gain=0.6)
    assert recommend(slow, 0.95)["keep_rate"] == 1.0
