"""CED for sherpa-onnx: the contract of its audio tagging, and the tags of its wheel."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import spectrim
from calls import call_spectrim
from spectrim.audio.decode import read
from spectrim.audio.front_ends import front_end
from spectrim.common.errors import SpectrimError
from spectrim.data.builtin import sample_pack
from spectrim.integrations.sherpa_onnx import (
    FromDecibels,
    export_sherpa_onnx,
    labels_csv,
    labels_text,
)
from spectrim.models.labels import audioset_labels
from spectrim.models.presets import preset
from spectrim.models.transformer import SpectrogramTransformer

FRAMES = 256


def recordings(count: int) -> list[np.ndarray]:
    """Waveforms of real clips of the sample pack, about 2.5 s each."""
    files = sorted(sample_pack().parent.glob("*.ogg"))
    return [read(file)[:40_000] for file in files[:: max(1, len(files) // count)][:count]]


def planted(waveforms: list[np.ndarray]) -> SpectrogramTransformer:
    """A pruned CED whose class i is the clip i: random blocks, and a nearest-neighbour head."""
    torch.manual_seed(0)
    labels = tuple(f'clip {index}, "own" class' for index in range(len(waveforms)))
    model = SpectrogramTransformer(preset("ced-tiny", labels, depth=2, frames=FRAMES)).eval()
    pruned = spectrim.prune(model, keep_rate=0.5, blocks=(0,))
    with torch.no_grad():
        embedded = pruned.embed(*pruned.features([(wave, 16_000) for wave in waveforms]))
        centred = embedded - embedded.mean(0)
        scale = 4 / torch.pdist(embedded).square().median()
        # -|e - e_i|^2 / 2 is e . e_i - |e_i|^2 / 2, apart from what all classes share.
        pruned.head.weight.copy_(scale * centred)
        pruned.head.bias.copy_(-scale * (centred * (embedded + embedded.mean(0)) / 2).sum(1))
    return pruned.eval()


@pytest.fixture(scope="module")
def waveforms() -> list[np.ndarray]:
    return recordings(6)


@pytest.fixture(scope="module")
def model(waveforms) -> SpectrogramTransformer:
    return planted(waveforms)


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    for needed in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(needed, reason=f"needs the extra export ({needed})")
    return export_sherpa_onnx(model, tmp_path_factory.mktemp("sherpa") / "ced.onnx")


def decibels(waveform: np.ndarray) -> torch.Tensor:
    """(1, 64, frames), as CED's authors compute them."""
    features, _ = front_end("htk-mel").filter_bank(64)(torch.from_numpy(waveform)[None])
    return features.transpose(1, 2)


def test_the_graph_takes_any_number_of_frames(model, waveforms):
    """Equal to the model on waveforms; cut to the window, padded to it."""
    graph = FromDecibels(model)
    longer = np.concatenate([*waveforms, *waveforms])
    window = model.config.window_samples
    for waveform in (*waveforms, waveforms[0][:2000], longer[:window], longer[: 3 * window]):
        with torch.inference_mode():
            features = decibels(waveform)
            expected = model.probabilities(model(*model.features((waveform[:window], 16_000))))
            # The floor is below the maximum of the whole input: the same if all of it is cut.
            got = graph(features)
        assert got.shape == (1, len(model.labels))
        assert torch.allclose(got, expected, atol=1e-4)
        assert torch.allclose(graph(features.expand(3, -1, -1)), got.expand(3, -1), atol=1e-5)


def test_labels_as_sherpa_onnx_reads_them():
    """Index, id and name; everything between the outer quotes is the name."""
    text = labels_text(["Speech", 'a "b", c', "two\nlines", "Dog"])
    header, *rows = text.split("\n")
    assert header == "index,mid,display_name" and rows.pop() == ""
    parsed = [row.split(",", 2) for row in rows]
    assert [(int(index), mid, name[1:-1]) for index, mid, name in parsed] == [
        (0, "/m/09x0r", "Speech"),
        (1, "", 'a "b", c'),
        (2, "", "two lines"),
        (3, "/m/0bt9lr", "Dog"),
    ]
    assert all(name[0] == name[-1] == '"' for *_, name in parsed)
    assert len(labels_text(list(audioset_labels())).splitlines()) == 528


def test_a_model_with_other_features_is_refused(tmp_path):
    with pytest.raises(SpectrimError, match=r"features of CED.*kaldi with 128 bins"):
        export_sherpa_onnx(spectrim.create("ast-tiny", frames=64, classes=3), tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--format", "sherpa"], "'sherpa' is not one of"),
        (["--format", "sherpa-onnx"], "computes the features of CED"),
        (["--format", "sherpa-onnx", "--input", "features"], "leave out --input"),
        (["--format", "sherpa-onnx", "--out", "folder"], "--format sherpa-onnx requires an ONNX"),
    ],
)
def test_options_that_do_not_fit_are_refused(words, message, tmp_path):
    call = ("export", "ast-digits", "--out", "a.onnx", *words)
    done = call_spectrim(call, tmp_path)
    assert done.returncode == 2 and message in " ".join(done.stderr.split())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_contract_of_the_file(exported, model, waveforms):
    """One input (N, 64, T), one output with a static number of classes, labels in their order."""
    import onnxruntime

    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    (given,), (output,) = session.get_inputs(), session.get_outputs()
    assert given.shape[1] == 64 and not any(isinstance(size, int) for size in given.shape[::2])
    assert output.shape[1] == len(model.labels)
    rows = labels_csv(exported).read_text().splitlines()
    assert len(rows) == 1 + len(model.labels)
    graph = FromDecibels(model)
    for frames in (1, 16, FRAMES - 1, FRAMES, 3 * FRAMES):
        features = torch.rand(2, 64, frames) * 60 - 70
        (got,) = session.run(None, {given.name: features.numpy()})
        with torch.inference_mode():
            assert np.abs(got - graph(features).numpy()).max() < 1e-4
    with pytest.raises(SpectrimError, match="takes decibels, not waveforms"):
        spectrim.load_onnx(exported).probabilities(waveforms)


@pytest.mark.slow
@pytest.mark.parametrize("quantize", [None, "int8"])
def test_sherpa_onnx_gives_the_tags_of_spectrim(exported, model, waveforms, quantize):
    sherpa_onnx = pytest.importorskip(
        "sherpa_onnx", reason="the test of the contract needs sherpa-onnx: pip install sherpa-onnx"
    )
    if quantize is not None:
        exported = export_sherpa_onnx(model, exported.with_name("int8.onnx"), quantize=quantize)
    config = sherpa_onnx.AudioTaggingConfig(
        model=sherpa_onnx.AudioTaggingModelConfig(ced=str(exported), num_threads=1),
        labels=str(labels_csv(exported)),
        top_k=len(model.labels),
    )
    tagger = sherpa_onnx.AudioTagging(config)
    own = 0
    for index, waveform in enumerate(waveforms):
        stream = tagger.create_stream()
        stream.accept_waveform(16_000, waveform)
        theirs = {event.name: event.prob for event in tagger.compute(stream)}
        (row,) = spectrim.tag(model, (waveform, 16_000), top=len(model.labels))
        ours = {label["label"]: label["probability"] for label in row["labels"]}
        assert max(theirs, key=theirs.get) == max(ours, key=ours.get)
        # Its frames lie half a hop later, which moves probabilities of this sharp head by 0.04.
        assert max(abs(theirs[label] - ours[label]) for label in ours) < 0.1
        own += max(theirs, key=theirs.get) == model.labels[index]
    assert own == len(waveforms)
