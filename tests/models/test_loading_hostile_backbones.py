"""Odd configs and tensors of every foreign format: a sentence that names the file, or a model that
runs. Never another error."""

from __future__ import annotations

import json
import warnings
from dataclasses import fields

import foreign
import foreign_backbones
import pytest
import torch

from spectrim.common.errors import SpectrimError, SpectrimNotice
from spectrim.models.loading import ced, eat, hugging_face, infer, maest
from spectrim.models.loading.load import load

pytestmark = pytest.mark.filterwarnings("ignore::spectrim.common.errors.SpectrimNotice")

ODD_VALUES = [None, True, False, -1, 0, 1, 7, 2**31, 2**70, 1e308, float("nan"), float("inf"), 0.5,
              4.0, "x", "", "4", [], [16], [16, 16], [1, 2, 3], [None, "a"], {}, {"0": 1},
              {"a": "b"}, "\x1b[2J", "x" * 5000, [[[[]]]]]  # fmt: skip
SETTINGS = {
    "ced": (ced.Settings, None),
    "eat": (eat.Settings, None),
    "ast": (hugging_face.Settings, infer.FeatureExtractor),
    "maest": (hugging_face.Settings, maest.MaestExtractor),
    "audiomae": (None, infer.FeatureExtractor),
}
FOLDERS = foreign_backbones.HUB_FOLDERS
FILES = {
    "ced": foreign_backbones.ced,
    "eat": lambda: {"model": foreign_backbones.eat_of_fairseq(foreign_backbones.eat())},
    "passt": foreign_backbones.passt,
    "ssast": foreign_backbones.ssast,
    "official-ast": foreign.official_ast,
    "audiomae": foreign.audiomae,
}


@pytest.fixture
def folder(tmp_path, kind):
    """A hub folder of a kind."""
    return foreign_backbones.write_folder(tmp_path / kind, FOLDERS[kind][0](), *FOLDERS[kind][1:])


def outcome(path, run=True):
    """ "runs" or the text of a `SpectrimError`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpectrimNotice)
        try:
            model = load(path)
        except SpectrimError as error:
            text = str(error)
            assert path.name in text or path.parent.name in text, text
            assert len(text) < 1500 and "\x1b" not in text
            return text
    if run:
        with torch.inference_mode():
            model(torch.zeros(1, model.config.frames, model.config.mels))
    return "runs"


@pytest.mark.parametrize("kind", FOLDERS)
def test_whole_folders_run(folder):
    assert outcome(folder) == "runs"


@pytest.mark.parametrize("kind", FILES)
def test_whole_files_run(tmp_path, kind):
    torch.save(FILES[kind](), tmp_path / "m.pth")
    assert outcome(tmp_path / "m.pth") == "runs"


# Every sixth value in the normal run, every third with `-m slow`.
STEPS = [6, pytest.param(3, marks=pytest.mark.slow)]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("kind", FOLDERS)
@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json"])
def test_odd_values_of_every_key(folder, kind, name, step):
    """Every sixth or third value of each key. Consecutive keys start at different values."""
    settings = SETTINGS[kind][name != "config.json"]
    if settings is None and not (folder / name).exists():
        pytest.skip(f"a folder of {kind} has no {name}")
    content = json.loads((folder / name).read_text())
    known = () if settings is None else (entry.name for entry in fields(settings))
    keys = dict.fromkeys([*content, *known])
    for number, key in enumerate(keys):
        for value in ODD_VALUES[number % step :: step]:
            (folder / name).write_text(json.dumps(content | {key: value}))
            outcome(folder)


@pytest.mark.parametrize("kind", FOLDERS)
@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json"])
def test_odd_texts_in_place_of_a_config(folder, name):
    for text in ("", "null", "[]", "3", '"x"', "{", "{}", "[" * 5000, '{"a":' * 5000, "\ufeff{}",
                 '{"model_type": []}', "\0"):  # fmt: skip
        (folder / name).write_text(text)
        outcome(folder)


ODD_TENSORS = {
    "empty": lambda value: value.new_zeros(0, *value.shape[1:]),
    "no axes": lambda value: torch.tensor(1.0),
    "one axis more": lambda value: value[None],
    "longer": lambda value: torch.cat([value, value]) if value.ndim else value,
    "integers": lambda value: torch.zeros(value.shape, dtype=torch.int64),
    "complex": lambda value: torch.zeros(value.shape, dtype=torch.complex64),
    "a number": lambda value: 1.0,
    "a text": lambda value: "x",
    "nothing": lambda value: None,
    "not finite": lambda value: torch.full(value.shape, torch.nan),
    "negative": lambda value: torch.full(value.shape, -1e30),
    "sparse": lambda value: torch.zeros(value.shape).to_sparse(),
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("kind", FILES)
def test_odd_tensors(tmp_path, kind, step):
    """Each key outside the blocks, and those of the first block, is changed or removed.

    The first key (with `-m slow` the first three) gets every change. Each other key gets every
    sixth or third.
    """
    whole = FILES[kind]()
    state = whole["model"] if set(whole) == {"model"} else whole
    path = tmp_path / "m.pth"

    def load_with(changed):
        torch.save({"model": changed} if state is not whole else changed, path)
        return outcome(path, run=False)

    for number, (key, value) in enumerate(state.items()):
        if "blocks.1." in key:
            continue
        load_with({name: value for name, value in state.items() if name != key})
        changes = list(ODD_TENSORS)
        for change in changes if number < 9 // step else changes[number % step :: step]:
            load_with(state | {key: ODD_TENSORS[change](value)})


@pytest.mark.parametrize("kind", FILES)
def test_odd_names(tmp_path, kind):
    whole = FILES[kind]()
    state = whole["model"] if set(whole) == {"model"} else whole
    block = next(name for name in state if "blocks.0." in name)
    for name in (
        block.replace("blocks.0.", f"blocks.{'9' * 5000}."), block.replace("blocks.0.", "blocks.."),
        block.replace("blocks.0.", "blocks.\u0663."), block.replace("blocks.0.", "blocks.9999999."),
        "\x1b[2J", "x" * 5000, "", 3, None, ("a", 1),
    ):  # fmt: skip
        changed = state | {name: torch.zeros(1)}
        torch.save({"model": changed} if state is not whole else changed, tmp_path / "m.pth")
        outcome(tmp_path / "m.pth", run=False)
