"""MAEST: transformers' own AST over 96 mel bins is the oracle."""

from __future__ import annotations

import json
import warnings

import pytest
import torch

from spectrim import create, from_transformers, load
from spectrim.common.errors import SpectrimError, SpectrimNotice

transformers = pytest.importorskip("transformers")
EXTRACTOR = {
    "feature_extractor_type": "MAESTFeatureExtractor", "sampling_rate": 16000, "n_fft": 512,
    "hop_length": 256, "num_mel_bins": 96, "log_compression": "logC", "do_normalize": True,
    "mean": 2.06755686098554, "std": 1.268292820667291, "max_length": 96,
    "auto_map": {"AutoFeatureExtractor": "feature_extraction_maest.MAESTFeatureExtractor"},
}  # fmt: skip


@pytest.fixture(scope="module")
def theirs():
    torch.manual_seed(0)
    config = transformers.ASTConfig(
        hidden_size=128, num_hidden_layers=2, num_attention_heads=4, intermediate_size=512,
        max_length=96, num_mel_bins=96, frequency_stride=10, time_stride=10, layer_norm_eps=1e-6,
        id2label={0: "Rock---Punk", 1: "Jazz---Bop", 2: "Folk---Polka"},
    )  # fmt: skip
    model = transformers.ASTForAudioClassification(config).eval()
    for value in model.parameters():
        torch.nn.init.normal_(value, std=0.15)
    return model


@pytest.fixture
def folder(theirs, tmp_path):
    theirs.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(EXTRACTOR))
    code = "raise SystemExit('remote code was executed')"
    (tmp_path / "feature_extraction_maest.py").write_text(code)
    return tmp_path


def logits_of(theirs, features):
    with torch.no_grad():
        return theirs(features).logits


def test_a_folder_gives_the_logits_of_transformers(theirs, folder):
    with warnings.catch_warnings():
        warnings.simplefilter("error", SpectrimNotice)  # such a folder says everything
        model = load(folder)
    config = model.config
    assert (config.family, config.front_end, config.mels) == ("maest", "slaney-mel", 96)
    assert (config.activation, config.metric, config.padding) == ("sigmoid", "mAP", "zero")
    assert (config.mean, config.std) == (EXTRACTOR["mean"], EXTRACTOR["std"])
    assert model.grid.count == 9 * 9 and model.labels[2] == "Folk---Polka"
    x = torch.randn(2, 96, 96)
    torch.testing.assert_close(model(x), logits_of(theirs, x), atol=1e-5, rtol=1e-4)


def test_a_model_in_memory(theirs):
    with pytest.warns(SpectrimNotice, match="MAEST's mean"):
        model = from_transformers(theirs)
    x = torch.randn(2, 96, 96)
    torch.testing.assert_close(model(x), logits_of(theirs, x), atol=1e-5, rtol=1e-4)


def test_a_missing_extractor_is_assumed_and_noted(folder):
    (folder / "preprocessor_config.json").unlink()
    with pytest.warns(SpectrimNotice, match="MAEST's mean 2"):
        assert load(folder).config.front_end == "slaney-mel"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("hop_length", 160, "hop_length is 160 in preprocessor_config"),
        ("log_compression", "log", "log_compression is 'log'"),
        ("feature_extractor_type", "ASTFeatureExtractor", "ASTFeatureExtractor with 96 mel bins"),
        ("std", 0, "std is 0"),
    ],
)
def test_another_extractor_is_refused(folder, key, value, message):
    (folder / "preprocessor_config.json").write_text(json.dumps(EXTRACTOR | {key: value}))
    with pytest.raises(SpectrimError, match=message):
        load(folder)


def test_presets_have_the_published_numbers_of_patches():
    grids = {name: create(f"maest-{name}", classes=3).grid for name in ("5s", "30s")}
    assert [(grid.rows, grid.columns) for grid in grids.values()] == [(9, 31), (9, 187)]
