"""Pruned models in transformers: its own Auto classes, pipeline and AST are the oracles."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from packaging.version import Version

import spectrim
from parameters import each_value
from spectrim.audio.decode import read
from spectrim.common.errors import SpectrimError, SpectrimNotice
from spectrim.models.presets import FAMILIES, from_family
from spectrim.models.transformer import SpectrogramTransformer

transformers = pytest.importorskip(
    "transformers", reason="needs transformers: pip install -e '.[transformers]'"
)
from folders import written  # noqa: E402
from spectrim.integrations import transformers as bridge  # noqa: E402


@pytest.fixture(scope="module")
def pruned(make):
    """`pruned(family, ...)`: a small pruned model."""
    return lambda family, **options: spectrim.prune(make(family, depth=3), **{
        "keep_rate": 0.5, "blocks": (0, 1)} | options)  # fmt: skip


@each_value(activation=["softmax", "sigmoid"], family=["ast", "audiomae"])
def test_a_pipeline_answers_as_tag_does(pruned, clips, tmp_path, family, activation):
    """Short clips too, whose padding the model must not take for sound."""
    model = pruned(family, score="intensity")
    model.config = replace(model.config, activation=activation)
    written(model, tmp_path)
    options = {}
    if activation == "sigmoid" and Version(transformers.__version__) < Version("5.23"):
        options["function_to_apply"] = "sigmoid"  # older ones apply softmax to every model
    pipeline = transformers.pipeline("audio-classification", model=str(tmp_path))
    for path in clips.values():
        sound = read(path)[: model.config.frames * 160]
        answers = pipeline({"raw": sound, "sampling_rate": 16_000}, **options)
        (row,) = spectrim.tag(model, (sound, 16_000))
        assert [answer["label"] for answer in answers] == [
            label["label"] for label in row["labels"]
        ]
        np.testing.assert_allclose(
            [answer["score"] for answer in answers],
            [label["probability"] for label in row["labels"]],
            atol=2e-6,
        )


@pytest.mark.parametrize("family", ["ast", "audiomae"])
def test_a_folder_gives_the_same_logits_in_both_libraries(pruned, heard, tmp_path, family):
    model = pruned(family)
    features, valid = heard("dog", "digit")
    expected = model(features, valid)
    written(model, tmp_path)
    mask = torch.arange(features.shape[1]) < valid[:, None]
    theirs = transformers.AutoModelForAudioClassification.from_pretrained(tmp_path)
    torch.testing.assert_close(theirs(features, mask).logits, expected)
    ours = spectrim.load(tmp_path)
    torch.testing.assert_close(ours(features, valid), expected)
    assert ours.plan == model.plan and ours.labels == model.labels == list(
        theirs.config.id2label.values()
    )
    # Fixed positions are not trained, and the tables of the filter bank have their values.
    transformer = theirs.spectrogram_transformer
    assert transformer.positions.requires_grad == model.config.learned_positions
    sound = (np.random.default_rng(0).normal(size=9_000).astype(np.float32), 16_000)
    assert torch.equal(transformer.features([sound])[0], model.features([sound])[0])
    half = transformers.AutoModelForAudioClassification.from_pretrained(tmp_path, dtype="bfloat16")
    transformer = half.spectrogram_transformer  # tables stay float32
    assert half.dtype == torch.bfloat16
    assert torch.equal(transformer.features([sound])[0], model.features([sound])[0])


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_gives_the_same_logits_from_sound(family, clips, tmp_path):
    """With the front end, sample rate, norms and pooling of the family."""
    torch.manual_seed(0)
    config = from_family(family, name="t", labels=("a", "b", "c"), width=96, heads=3, depth=2,
                         frames=150)  # fmt: skip
    model = SpectrogramTransformer(config).eval()
    for name, value in model.named_parameters():
        if name.endswith("weight") and "norm" not in name:
            value.data.mul_(3)
    model = spectrim.prune(model, 0.5, blocks=[0])
    written(model, tmp_path)
    extractor = transformers.AutoFeatureExtractor.from_pretrained(tmp_path)
    theirs = transformers.AutoModelForAudioClassification.from_pretrained(tmp_path)
    assert extractor.sampling_rate == config.sample_rate
    sounds = [str(clips["dog"]), str(clips["digit"])]
    logits = theirs(**extractor(sounds, return_tensors="pt")).logits
    expected = model(*model.features(sounds))
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-4)
    assert logits.std() > 1e-3
    again = spectrim.load(tmp_path)
    assert replace(again.config, labels=config.labels) == config
    torch.testing.assert_close(again(*again.features(sounds)), expected, atol=1e-5, rtol=1e-4)


def test_hidden_states_and_attentions_are_those_of_the_blocks(pruned, heard):
    """The oracle runs the blocks by hand: no pruning in block 2, top patches in 0 and 1."""
    model = pruned("ast")
    features, valid = heard("dog")
    theirs, _ = bridge.to_transformers(model)
    with torch.no_grad():
        output = theirs(features, output_hidden_states=True, output_attentions=True)
        x = model.tokenize(features).x
        torch.testing.assert_close(output.hidden_states[0], x)
        for index, block in enumerate(model.blocks):
            q, k, v = block.qkv(block.norm1(x)).unflatten(2, (3, 4, 16)).permute(2, 0, 3, 1, 4)
            attention = (q @ k.transpose(-1, -2) / 4).softmax(-1)
            torch.testing.assert_close(output.attentions[index], attention, atol=1e-5, rtol=1e-4)
            x = x + block.proj((attention @ v).transpose(1, 2).flatten(2))
            if index < 2:
                scores = attention[:, :, 0, 2:].mean(1)[0]
                top = scores.argsort(descending=True)[: -(-len(scores) // 2)]
                x = torch.cat([x[:, :2], x[:, 2:][:, top]], 1)
            x = x + block.fc2(torch.nn.functional.gelu(block.fc1(block.norm2(x))))
            torch.testing.assert_close(output.hidden_states[index + 1], x, atol=1e-4, rtol=1e-4)
    assert len(output.hidden_states) == 4 and len(output.attentions) == 3
    (logits,) = theirs(features, return_dict=False)
    torch.testing.assert_close(logits, model(features, valid))


def test_the_loss_is_that_of_the_problem(make, heard):
    features, _ = heard("dog", "rain")
    single, _ = bridge.to_transformers(make("ast", depth=2), labels=list("abcde"))
    output = single(features, labels=torch.tensor([4, 0]))
    expected = -output.logits.log_softmax(1)[[0, 1], [4, 0]].mean()
    torch.testing.assert_close(output.loss, expected)
    multi, _ = bridge.to_transformers(make("ast", depth=2))
    targets = torch.tensor([[1, 0, 0, 1, 0], [0, 0, 1, 0, 0]])
    output = multi(features, labels=targets)
    p = output.logits.sigmoid()
    expected = -torch.where(targets == 1, p, 1 - p).log().mean()
    torch.testing.assert_close(output.loss, expected)
    with pytest.raises(SpectrimError, match="problem_type='single_label_classification'"):
        multi(features, labels=torch.tensor([4, 0]))
    with pytest.raises(SpectrimError, match="expected \\(2,\\)"):
        single(features, labels=targets)


def test_arguments_of_from_pretrained_give_other_classes(pruned, tmp_path):
    model = pruned("ast")
    written(model, tmp_path)
    names = {0: "cat", 1: "dog"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = transformers.AutoModelForAudioClassification.from_pretrained(
            tmp_path, id2label=names, problem_type="multi_label_classification",
            ignore_mismatched_sizes=True,
        )  # fmt: skip
    theirs.save_pretrained(tmp_path / "two")
    ours = spectrim.load(tmp_path / "two")
    assert ours.labels == ["cat", "dog"] and ours.plan == model.plan
    assert (ours.config.activation, ours.config.metric) == ("sigmoid", "mAP")


def test_labels_give_an_untrained_head(pruned, heard):
    model = pruned("ast")
    theirs, _ = bridge.to_transformers(model, labels=["cat", "dog"])
    features, valid = heard("dog")
    output = theirs(features, output_hidden_states=True)
    assert output.logits.shape == (1, 2) and theirs.config.id2label == {0: "cat", 1: "dog"}
    tokens = model.encode(features, valid)
    torch.testing.assert_close(output.hidden_states[-1], tokens.x)


def test_a_plan_that_drops_padding_is_kept(make, clips, tmp_path):
    model = spectrim.prune(make("ast", depth=2), 0.5, blocks=(1,), drop_padding=True)
    theirs, extractor = bridge.to_transformers(model)
    sounds = [str(clips["digit"]), str(clips["word"])]
    with torch.no_grad():
        output = theirs(**extractor(sounds, return_tensors="pt"), output_hidden_states=True)
    torch.testing.assert_close(output.logits, model(*model.features(sounds)))
    assert output.hidden_states[1].shape[1] < output.hidden_states[0].shape[1]
    theirs.save_pretrained(tmp_path)
    assert spectrim.load(tmp_path).plan == model.plan
    assert "| MACs per clip | at most " in (tmp_path / "README.md").read_text()


def test_one_class_with_softmax_is_refused(make):
    with pytest.raises(SpectrimError, match="activation='sigmoid'"):
        bridge.to_transformers(spectrim.create("ast-tiny", frames=64, labels=["bark"],
                                               activation="softmax"))  # fmt: skip


def test_the_feature_extractor_reads_every_kind_of_sound(pruned, clips):
    model = pruned("ast")
    _, extractor = bridge.to_transformers(model)
    path = clips["digit"]
    sound = read(path)
    features, valid = model.features([path])
    rows = [
        sound, sound.astype(np.float64), sound.tolist(), torch.from_numpy(sound), [sound],
        sound[None], str(path), path,
        {"bytes": path.read_bytes(), "path": None}, {"bytes": None, "path": str(path)},
        {"raw": sound, "sampling_rate": 16_000}, [{"array": sound, "sampling_rate": 16_000}],
    ]  # fmt: skip
    for row in rows:
        batch = extractor(row, return_tensors="pt")
        torch.testing.assert_close(batch["input_values"], features)
        assert batch["attention_mask"].sum(1).tolist() == valid.tolist()
    half = np.repeat(sound, 2)  # the rate is stated, so it is resampled
    batch = extractor([half, sound], sampling_rate=32_000, return_tensors="np")
    assert batch["attention_mask"].sum(1).tolist()[0] == valid[0]
    with pytest.raises(SpectrimError, match="no sound"):
        extractor([])


def test_without_the_import_the_error_and_the_card_name_the_module(pruned, tmp_path, monkeypatch):
    written(pruned("ast"), tmp_path)
    known = transformers.models.auto.configuration_auto.CONFIG_MAPPING._extra_content
    monkeypatch.delitem(known, bridge.SpectrimConfig.model_type)  # as before the import
    for read_folder in (
        transformers.AutoModelForAudioClassification.from_pretrained,
        lambda folder: transformers.pipeline("audio-classification", model=str(folder)),
    ):
        with pytest.raises(ValueError, match=r"`spectrim\.integrations\.transformers`"):
            read_folder(tmp_path)
    assert "import spectrim.integrations.transformers" in (tmp_path / "README.md").read_text()
    assert "auto_map" not in json.loads((tmp_path / "config.json").read_text())


def test_push_to_hub_uploads_what_save_pretrained_writes(pruned, tmp_path, monkeypatch):
    """The network is replaced: what would be uploaded is copied."""
    hub = pytest.importorskip("huggingface_hub")
    uploads = []

    class Api:
        def __init__(self, token):
            assert token == "secret"

        def create_repo(self, repo_id, private, exist_ok):
            return type("Repo", (), {"repo_id": f"me/{repo_id}"})

        def file_exists(self, repo_id, name, revision):
            return repo_id == "me/known"

        def upload_folder(self, repo_id, folder_path, **options):
            import pathlib

            uploads.append((repo_id, {p.name: p.read_bytes() for p in
                                      pathlib.Path(folder_path).iterdir()}, options))  # fmt: skip

    monkeypatch.setattr(hub, "HfApi", Api)
    model = pruned("ast")
    theirs, _ = bridge.to_transformers(model)
    theirs.push_to_hub("new", token="secret", create_pr=True)
    theirs.push_to_hub("known", token="secret")
    (first, files, options), (second, others, _) = uploads
    assert (first, second) == ("me/new", "me/known") and options["create_pr"] is True
    assert set(files) == {"README.md", "config.json", "model.safetensors"}
    assert set(others) == {"config.json", "model.safetensors"}  # the card there stays
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    assert spectrim.load(tmp_path).plan == model.plan


@pytest.mark.parametrize(("frequency", "time", "frames"), [(16, 16, 128), (10, 10, 131)])
def test_a_plain_ast_gives_the_logits_of_spectrim(tmp_path, clips, frequency, time, frames):
    """Features of transformers' own extractor, logits of its own AST."""
    model = spectrim.create("ast-tiny", frames=frames, stride=(frequency, time), classes=4,
                            padding="zero", mean=-6.0, std=4.0)  # fmt: skip
    for part in bridge.to_ast(model):
        part.save_pretrained(tmp_path)
    sound = read(clips["dog"])[:20_000]
    extractor = transformers.AutoFeatureExtractor.from_pretrained(tmp_path)
    theirs = transformers.AutoModelForAudioClassification.from_pretrained(tmp_path)
    assert type(theirs) is transformers.ASTForAudioClassification
    batch = extractor(sound, sampling_rate=16_000, return_tensors="pt")
    expected = model(*model.features([(sound, 16_000)]))
    torch.testing.assert_close(theirs(**batch).logits, expected, atol=1e-4, rtol=1e-4)
    again = spectrim.load(tmp_path)
    torch.testing.assert_close(again(*again.features([(sound, 16_000)])), expected)
    assert again.config.labels == model.config.labels


@pytest.mark.slow  # a fresh process imports transformers
def test_a_process_without_spectrim_reads_a_plain_ast(tmp_path):
    model = spectrim.create("ast-tiny", frames=64, classes=4, padding="zero")
    for part in bridge.to_ast(model):
        part.save_pretrained(tmp_path)
    code = f"""
import sys, numpy, transformers
pipeline = transformers.pipeline("audio-classification", model={str(tmp_path)!r})
print(pipeline(numpy.ones(9_000, numpy.float32))[0]["label"])
assert "spectrim" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("class "), done.stderr


def test_what_a_plain_ast_cannot_compute_is_named(pruned, make):
    with pytest.raises(SpectrimError, match="cannot prune"):
        bridge.to_ast(pruned("ast"))
    with pytest.raises(SpectrimError, match="padding 'minimum', not 'zero'"):
        bridge.to_ast(make("ast", depth=2))
    with pytest.raises(SpectrimError, match="family is 'audiomae', not 'ast'"):
        bridge.to_ast(make("audiomae", depth=2))


class Learned(torch.nn.Module):
    """A score with a parameter."""

    exportable = True

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))

    def forward(self, context):
        return context.tokens.patches.mean(-1) * self.weight


def test_a_plan_that_transformers_cannot_hold_is_refused(pruned):
    model = pruned("ast", score=f"{__name__}:Learned")
    with pytest.raises(SpectrimError, match=r"cannot hold the plan .* is learned"):
        bridge.to_transformers(model)
    theirs, _ = bridge.to_transformers(pruned("ast"))
    before = theirs.config.plan
    with pytest.raises(SpectrimError, match="cannot hold the plan"):
        theirs.prune(0.5, lambda context: context.tokens.patches.mean(-1), blocks=(1,))
    assert theirs.config.plan == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 9}, "format version 9"),
        ({"plan": 3}, "plan is 3"),
        ({"plan": {"version": 99}}, "a plan of version 99"),
        ({"model": {"name": "a", "wide": 9}}, "unknown model key 'wide'"),
        ({"problem_type": "regression"}, "single_label_classification"),
        ({"id2label": {"0": "a", "7": "b"}}, "expected 0 to 1"),
    ],
)
def test_a_damaged_config_is_a_sentence(pruned, tmp_path, change, message):
    written(pruned("ast"), tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(SpectrimError, match=message):
        transformers.AutoConfig.from_pretrained(tmp_path)


def test_loading_a_written_folder_prints_no_note(pruned, tmp_path):
    written(pruned("ast"), tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error", SpectrimNotice)
        spectrim.load(tmp_path)


@pytest.mark.parametrize(("version", "is_noted"), [("5.22.2", True), ("5.23.0", False)])
def test_a_version_whose_pipeline_ignores_the_problem_is_noted(
    make, tmp_path, monkeypatch, version, is_noted
):
    written(make("ast", depth=2), tmp_path)
    monkeypatch.setattr("spectrim.integrations.transformers.modeling.transformers_version", version)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        bridge.SpectrimForAudioClassification.from_pretrained(tmp_path)
    notes = [str(note.message) for note in caught if note.category is SpectrimNotice]
    assert any("function_to_apply='sigmoid'" in note for note in notes) == is_noted


def test_without_transformers_the_error_names_the_package():
    code = (
        "import sys; sys.modules['transformers'] = None\nimport spectrim.integrations.transformers"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "requires the package transformers" in done.stderr and ".[transformers]" in done.stderr


def test_the_lines_in_the_guide_run(pruned, clips, tmp_path, monkeypatch):
    page = (Path(__file__).parents[2] / "docs" / "deploy.md").read_text("utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    code = next(block for block in blocks if "import spectrim.integrations" in block)
    model = pruned("ast")
    written(model, tmp_path / "digits")
    monkeypatch.chdir(tmp_path)
    names = {"sound": read(clips["digit"])}
    exec(compile(code, "docs/deploy.md", "exec"), names)
    (row,) = spectrim.tag(model, (names["sound"], 16_000))
    assert names["answers"][0]["label"] == row["labels"][0]["label"]
