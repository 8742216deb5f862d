"""`check`: parity with transformers on its own format, and the recommendation."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
import torch
from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification

import spectrim
from spectrim.common.errors import SpectrimError
from spectrim.data.manifest import read_data
from spectrim.evaluation.check import check, recommend


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
    found = check(model, name, clips, rounds=1, batch_size=3)
    parity = found["parity"]
    assert parity["status"] == "same" and parity["clips"] == 6
    assert parity["logits"] < 1e-4 and parity["features"] < 2e-3 and parity["end_to_end"] < 5e-2
    with torch.no_grad():
        model.blocks[5].fc1.weight[0, 0] += 5  # read wrongly
    parity = check(model, name, clips, rounds=1, keep_rates=[1.0])["parity"]
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
    found = check(model, str(hugging / "model"), read_data(tmp_path / "parts.csv"), rounds=1)
    assert found["parity"]["status"] == "same" and found["parity"]["clips"] == 2
    assert len(found["failures"]) == 2 and found["rows"][0]["failed"] == 2


@pytest.mark.parametrize("wrong", [{"mean": 0.0}, {"std": 2.0}, {"padding": "minimum"}])
def test_features_made_otherwise_are_not_the_same(hugging, wrong):
    name = str(hugging / "model")
    parity = check(
        spectrim.load(name, **wrong), name, read_data(hugging / "clips"), rounds=1, keep_rates=[1.0]
    )["parity"]
    assert parity["status"] == "different" and "mean, std or padding" in parity["reason"]
    assert "networks" not in parity["reason"]


def test_half_precision_is_judged_by_its_own_measure(hugging):
    name, clips = str(hugging / "model"), read_data(hugging / "clips")
    model = spectrim.load(name, dtype="bfloat16")
    assert check(model, name, clips, rounds=1, keep_rates=[1.0])["parity"]["status"] == "same"
    with torch.no_grad():
        model.head.weight.neg_()
    assert check(model, name, clips, rounds=1, keep_rates=[1.0])["parity"]["status"] == "different"


def test_what_transformers_cannot_read_is_said(hugging, tmp_path):
    spectrim.create("ast-tiny", frames=64, classes=3).save(tmp_path / "ours")
    clips = read_data(hugging / "clips")
    name = str(tmp_path / "ours")
    parity = check(spectrim.load(name), name, clips, rounds=1, keep_rates=[1.0])["parity"]
    assert parity["status"] == "not checked" and "Hugging Face" in parity["reason"]
    shorter = spectrim.load(hugging / "model", frames=50)
    parity = check(shorter, str(hugging / "model"), clips, rounds=1, keep_rates=[1.0])["parity"]
    assert "length is 100" in parity["reason"]


def rows(*agreements):
    rates = (1.0, 0.9, 0.8, 0.7)
    return [
        {"keep_rate": rate, "score": "attention", "speedup": 3 - 2 * rate, "gmacs": 1,
         "agreement": {"top1": {"value": value}}}
        for rate, value in zip(rates, (1.0, *agreements), strict=False)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("agreements", "wanted"),
    [((0.99, 0.97, 0.96), 0.7), ((0.99, 0.90, 0.96), 0.9), ((0.9, 0.99, 0.99), 1.0)],
)
def test_the_lowest_rate_is_recommended_down_to_which_all_agree(agreements, wanted):
    assert recommend(rows(*agreements), 0.95)["keep_rate"] == wanted


def test_an_agreement_out_of_range(hugging):
    with pytest.raises(SpectrimError, match="agreement of 0"):
        check(spectrim.create("ast-tiny"), "x", read_data(hugging / "clips"), agreement=0)


def test_what_is_not_faster_is_not_recommended():
    slow = [row | {"speedup": 1.01} for row in rows(0.99, 0.99, 0.99)]
    assert recommend(slow, 0.95)["keep_rate"] == 1.0
