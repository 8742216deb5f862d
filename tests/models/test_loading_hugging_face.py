"""transformers' AST: its own implementation is the oracle."""

from __future__ import annotations

import json
import warnings

import pytest
import torch
from safetensors.torch import load_file

from spectrim.audio.decode import read
from spectrim.common.errors import SpectrimError, SpectrimNotice
from spectrim.models.loading.load import from_transformers, load

transformers = pytest.importorskip("transformers")
LABELS = ["dog", "rain", "clock"]


def make(frequency=16, time=16, frames=128, labels=LABELS, **changes):
    config = transformers.ASTConfig(
        hidden_size=128, num_hidden_layers=2, num_attention_heads=4, intermediate_size=512,
        max_length=frames, frequency_stride=frequency, time_stride=time, layer_norm_eps=1e-3,
        id2label=dict(enumerate(labels)), **changes,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.ASTForAudioClassification(config).eval()
    for value in model.parameters():
        torch.nn.init.normal_(value, std=0.15)
    return model


def same(ours, theirs, frames=128):
    features = torch.randn(2, frames, 128)
    with torch.no_grad():
        want = theirs(features).logits
    torch.testing.assert_close(ours(features), want, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("frequency,time,frames", [(16, 16, 128), (10, 10, 131), (10, 16, 150)])
def test_folder_and_memory_give_the_logits_of_transformers(tmp_path, frequency, time, frames):
    theirs = make(frequency, time, frames)
    theirs.save_pretrained(tmp_path)
    transformers.ASTFeatureExtractor(mean=-6.5, std=5.0).save_pretrained(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error", SpectrimNotice)  # such a folder says everything
        ours = load(tmp_path)
        load(tmp_path / "model.safetensors", stride=(frequency, time))
    assert ours.labels == LABELS and ours.config.heads == 4 and not ours.training
    assert (ours.config.mean, ours.config.std, ours.config.padding) == (-6.5, 5.0, "zero")
    same(ours, theirs, frames)
    same(from_transformers(theirs, mean=0.0, std=1.0, padding="zero"), theirs, frames)


def test_a_folder_with_pytorch_model_bin(tmp_path):
    theirs = make()
    theirs.save_pretrained(tmp_path)
    torch.save(load_file(tmp_path / "model.safetensors"), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.warns(SpectrimNotice, match=r"-4\.2677"):  # no preprocessor_config.json
        same(load(tmp_path), theirs)


def test_a_folder_whose_attention_has_no_bias(tmp_path):
    theirs = make(qkv_bias=False)
    theirs.save_pretrained(tmp_path)
    same(load(tmp_path, mean=0.0, std=1.0, padding="zero"), theirs)


def test_in_memory_weights_are_copied():
    theirs = make()
    with pytest.warns(SpectrimNotice, match="mean"):
        ours = from_transformers(theirs, labels=["a", "b", "c"])
    assert ours.labels == ["a", "b", "c"]
    same(ours, theirs)
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    with torch.no_grad():
        for value in theirs.parameters():
            value.fill_(0.0)
    for name, value in ours.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_a_model_without_classifier_gets_a_fresh_head():
    theirs = make().audio_spectrogram_transformer
    with pytest.warns(SpectrimNotice, match="no head"):
        ours = from_transformers(theirs, labels=4)
    features = torch.randn(1, 128, 128)
    with torch.no_grad():
        pooled = theirs(features).pooler_output
    want = torch.nn.functional.layer_norm(pooled, (128,), eps=1e-3)
    torch.testing.assert_close(ours.embed(features), want, atol=1e-4, rtol=1e-4)


def test_another_model_in_memory_is_refused():
    with pytest.raises(SpectrimError, match="ASTForAudioClassification"):
        from_transformers(torch.nn.Linear(2, 2))


@pytest.mark.parametrize("normalise", [True, False])
def test_features_are_those_of_the_feature_extractor(tmp_path, clips, normalise):
    make(frames=512).save_pretrained(tmp_path)
    extractor = transformers.ASTFeatureExtractor(
        max_length=512, mean=-6.5, std=5.0, do_normalize=normalise
    )
    extractor.save_pretrained(tmp_path)
    model = load(tmp_path)
    for clip in ("rain", "word"):  # 498 frames and less than 128: the rest is padding
        waveform = read(clips[clip])
        want = extractor(waveform, sampling_rate=16000, return_tensors="np")["input_values"][0]
        got, _ = model.features(clips[clip])
        torch.testing.assert_close(got[0], torch.as_tensor(want), atol=5e-3, rtol=1e-3)


@pytest.mark.parametrize(
    "key,value,word",
    [
        ("patch_size", 8, "patch_size"),
        ("hidden_act", "relu", "hidden_act"),
        ("num_mel_bins", 64, "num_mel_bins"),
        ("hidden_size", "wide", "hidden_size"),
        ("num_attention_heads", 5, "num_attention_heads"),
        ("intermediate_size", 300, "intermediate_size"),
        ("max_length", 1024, r"position_embeddings.*\(1, 66, 128\).*\(1, 514, 128\)"),
        ("id2label", {"0": "dog"}, "id2label"),
        ("problem_type", "regression", "problem_type is 'regression'.*reads classifiers"),
        ("num_hidden_layers", 3, r"layer\.2"),
        ("num_hidden_layers", 1, r"unexpected.*layer\.1"),
    ],
)
def test_a_config_that_does_not_fit_is_named(tmp_path, key, value, word):
    make().save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(SpectrimError, match=word) as error:
        load(tmp_path)
    assert str(tmp_path) in str(error.value)


@pytest.mark.parametrize("key,value", [("mean", "loud"), ("std", 0), ("sampling_rate", 8000)])
def test_a_preprocessor_that_does_not_fit_is_named(tmp_path, key, value):
    make().save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({key: value}))
    with pytest.raises(SpectrimError, match=rf"{key} is .* in preprocessor_config\.json"):
        load(tmp_path)


def test_one_label_without_a_problem_type_is_a_detector(tmp_path):
    make(labels=["siren"]).save_pretrained(tmp_path)
    assert "problem_type" not in json.loads((tmp_path / "config.json").read_text())
    with pytest.warns(SpectrimNotice, match="assumed: .*activation sigmoid for its one class"):
        model = load(tmp_path)
    assert (model.labels, model.config.activation) == (["siren"], "sigmoid")


def test_a_stride_that_the_config_does_not_say_is_refused(tmp_path):
    make().save_pretrained(tmp_path)
    with pytest.raises(SpectrimError, match="stride"):
        load(tmp_path, stride=10)
    bare = tmp_path / "bare.safetensors"
    (tmp_path / "model.safetensors").rename(bare)
    with pytest.raises(SpectrimError, match=r"config\.json"):
        load(bare)


def test_more_than_ten_labels_stand_in_the_order_of_their_numbers(tmp_path):
    """JSON's keys are texts, among which "10" comes before "2"."""
    names = [f"class {index}" for index in range(12)]
    make(num_labels=12).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["id2label"] = {str(index): name for index, name in enumerate(names)}
    config["label2id"] = {name: index for index, name in enumerate(names)}
    (tmp_path / "config.json").write_text(json.dumps(config))
    transformers.ASTFeatureExtractor().save_pretrained(tmp_path)
    assert load(tmp_path).labels == names
