"""`AutoModel` of a pruned folder, and folders whose weights transformers splits."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from huggingface_hub import ModelCard

import spectrim
from spectrim.common.errors import SpectrimError
from spectrim.models.presets import FAMILIES, from_family
from spectrim.models.transformer import SpectrogramTransformer

transformers = pytest.importorskip(
    "transformers", reason="needs transformers: pip install -e '.[transformers]'"
)
from folders import written  # noqa: E402


def small(family):
    torch.manual_seed(0)
    config = from_family(family, name="t", labels=("a", "b", "c"), width=96, heads=3, depth=2,
                         frames=150)  # fmt: skip
    return spectrim.prune(SpectrogramTransformer(config).eval(), 0.5, blocks=[0])


@pytest.mark.parametrize("family", FAMILIES)
def test_the_base_model_gives_the_tokens_and_the_embedding(family, tmp_path):
    """By hand: the head of the classifier, applied to the pooled output, gives its logits."""
    model = small(family)
    config = model.config
    written(model, tmp_path)
    base = transformers.AutoModel.from_pretrained(tmp_path)
    classifier = transformers.AutoModelForAudioClassification.from_pretrained(tmp_path)
    features = torch.randn(2, config.frames, config.mels)
    mask = torch.arange(config.frames) < torch.tensor([[150], [90]])
    output = base(features, mask, output_hidden_states=True)
    logits = classifier(features, mask).logits
    torch.testing.assert_close(model.head(output.pooler_output), logits)
    torch.testing.assert_close(output.pooler_output, model.embed(features, mask.sum(1)))
    patches = config.grid.count
    kept = config.num_prefix_tokens + -(-patches // 2)
    assert output.last_hidden_state.shape == (2, kept, config.width)
    torch.testing.assert_close(output.last_hidden_state, model.norm(output.hidden_states[-1]))
    last, pooled = base(features, mask, return_dict=False)
    assert torch.equal(last, output.last_hidden_state) and torch.equal(pooled, output.pooler_output)


def test_what_the_base_model_saves_is_whole(tmp_path):
    model = small("ast")
    written(model, tmp_path / "a")
    base = transformers.AutoModel.from_pretrained(tmp_path / "a")
    base.prune(0.3, blocks=(1,))
    base.save_pretrained(tmp_path / "b")
    features = torch.randn(1, 150, 128)
    expected = spectrim.prune(model, 0.3, blocks=(1,))(features)
    torch.testing.assert_close(spectrim.load(tmp_path / "b")(features), expected)
    classifier = transformers.AutoModelForAudioClassification.from_pretrained(tmp_path / "b")
    torch.testing.assert_close(classifier(features).logits, expected)


@pytest.fixture
def sharded(tmp_path):
    model = small("ast")
    classifier = transformers.AutoModelForAudioClassification.from_pretrained(
        written(model, tmp_path / "whole")
    )
    classifier.save_pretrained(tmp_path / "parts", max_shard_size="200KB")
    folder = tmp_path / "parts"
    assert len(list(folder.glob("model-*-of-*.safetensors"))) > 2
    assert not (folder / "model.safetensors").exists()
    return model, folder


def test_weights_in_several_files_are_read_by_both_libraries(sharded):
    model, folder = sharded
    features = torch.randn(1, 150, 128)
    expected = model(features)
    for source in (folder, folder / "model.safetensors.index.json"):
        ours = spectrim.load(source)
        assert ours.plan == model.plan
        torch.testing.assert_close(ours(features), expected)
    theirs = transformers.AutoModelForAudioClassification.from_pretrained(folder)
    torch.testing.assert_close(theirs(features).logits, expected)
    base = transformers.AutoModel.from_pretrained(folder)
    torch.testing.assert_close(base(features).pooler_output, model.embed(features))


def test_a_lost_or_damaged_part_is_named(sharded):
    _, folder = sharded
    index = folder / "model.safetensors.index.json"
    table = json.loads(index.read_text())
    part = sorted(folder.glob("model-00002-*"))[0]
    content = part.read_bytes()
    part.write_bytes(content[:-10])
    with pytest.raises(SpectrimError, match=f"{part.name}: not a whole safetensors file"):
        spectrim.load(folder)
    part.unlink()
    with pytest.raises(SpectrimError, match=f"{part.name}: no such file"):
        spectrim.load(folder)
    part.write_bytes(content)
    name = next(name for name in table["weight_map"] if name.endswith("head.weight"))
    del table["weight_map"][name]
    index.write_text(json.dumps(table))
    with pytest.raises(SpectrimError, match="disagree on 'spectrogram_"):
        spectrim.load(folder)
    index.write_text("{}")
    with pytest.raises(SpectrimError, match="weight_map is missing"):
        spectrim.load(folder)


@pytest.mark.parametrize(
    ("source", "base", "title"),
    [
        ("MIT/ast-finetuned", "MIT/ast-finetuned", "MIT/ast-finetuned, pruned"),
        ("runs/last", None, "last, pruned"),  # a folder, not a model of the owner "runs"
        ("/home/me/ast.pth", None, "ast.pth, pruned"),
        ("", None, "audio classifier, pruned"),
    ],
)
def test_the_card_names_the_model_that_was_loaded(tmp_path, source, base, title):
    """Also after fine-tuning with Trainer, which calls `save_pretrained`."""
    model = small("ast")
    model.config = replace(model.config, name=source)
    written(model, tmp_path)
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.base_model == base and f"# {title}\n" in card.text
    assert "/home/me" not in card.content
