"""Metadata of exported files: odd values are a sentence that names the file and the key."""

from __future__ import annotations

import pytest

from spectrim.common.errors import SpectrimError
from spectrim.deploy.onnx_metadata import Metadata, metadata_from

GOOD = Metadata(
    name="ast",
    labels=["low", "high"],
    sampling_rate=16_000,
    window_samples=127 * 160 + 400,
    frames=128,
    input="waveform",
    plan={"version": 2, "seed": 0, "stages": []},
    activation="softmax",
    metric="accuracy",
    macs=10,
    quantization="none",
    spectrim="0.1.0",
).to_texts()


def test_whole_metadata_comes_back():
    metadata = metadata_from("a.onnx", GOOD)
    assert metadata.window_samples == 20_720 and metadata.to_texts() == GOOD
    without = {key: text for key, text in GOOD.items() if key != "front_end"}
    assert metadata_from("a.onnx", without) == metadata  # of an older Spectrim


@pytest.mark.parametrize(
    ("key", "text"),
    [
        *(("window_samples", text) for text in
          ("null", "-5", "0", "1", "20880.5", "20720.0", "1e99", "true", '"20720"', "[20720]",
           "99999999999999999999", "NaN", "", "x")),
        *(("frames", text) for text in ("null", "0", "-1", "128.5", "127", "1000000000000")),
        *(("sampling_rate", text) for text in ("8000", "null", "0", "16000.5", "44100")),
        *(("labels", text) for text in ('"low"', "null", "[]", "[1, 2]", "{}", "[null]")),
        *(("plan", text) for text in ("null", "[]", '{"stages": null}', '{"stages": [1]}', "{}")),
        *(("macs", text) for text in ("-1", "null", "x")),
        *(("embedding_width", text) for text in ("-1", "null", "1.5")),
        ("activation", "x"), ("metric", ""), ("input", "x"), ("front_end", "x"),
        ("plan", "[" * 3000), ("plan", '{"a":' * 3000),
    ],
)  # fmt: skip
def test_an_odd_value_is_named(key, text):
    with pytest.raises(SpectrimError, match=rf"a\.onnx.*({key}|window_samples)") as error:
        metadata_from("a.onnx", GOOD | {key: text})
    assert len(str(error.value)) < 600


@pytest.mark.parametrize(
    "key", [key for key in GOOD if key not in ("front_end", "embedding_width")]
)
def test_a_missing_key_is_named(key):
    texts = {name: text for name, text in GOOD.items() if name != key}
    with pytest.raises(SpectrimError, match=r"a\.onnx"):
        metadata_from("a.onnx", texts)
