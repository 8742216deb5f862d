"""Names, our own folders, devices and the hub."""

from __future__ import annotations

import json
import threading
import time
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import foreign
import pytest
import torch
from torch import nn

import spectrim.models.loading.locate as locating
from spectrim.common.errors import SpectrimError, SpectrimNotice
from spectrim.models import builtin_models
from spectrim.models.build import prune
from spectrim.models.builtin_models import builtin_names
from spectrim.models.config import AUDIOSET_MEAN
from spectrim.models.loading.load import LoadOptions, load, load_with_assumptions
from spectrim.models.presets import from_family
from spectrim.models.transformer import SpectrogramTransformer
from spectrim.pruning.plan import Plan
from spectrim.pruning.stage import Stage


def small(family="ast", frames=128, plan=None) -> SpectrogramTransformer:
    torch.manual_seed(1)
    config = from_family(
        family, name="small", labels=("a", "b", "c"), width=128, heads=2, depth=4, frames=frames,
        mean=-6.0, std=5.0, activation="softmax", metric="accuracy",
    )  # fmt: skip
    return SpectrogramTransformer(config, plan).eval()


class Learned(nn.Module):
    """A score with a parameter, by the class row."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, context):
        return context.column_mean() * self.weight


@pytest.mark.parametrize("family", ["ast", "audiomae"])
def test_round_trip_keeps_model_and_plan(tmp_path, family):
    model = prune(small(family), keep_rate=[0.7, 0.5], blocks=(1, 2), score="intensity", seed=3)
    features = torch.randn(2, 128, 128)
    model.save(tmp_path / "whole")
    again = load(str(tmp_path / "whole"))
    assert again.config == model.config and again.plan == model.plan and not again.training
    torch.testing.assert_close(again(features), model(features), rtol=0, atol=0)
    model.save(tmp_path / "half", dtype=torch.float16)
    half = load(tmp_path / "half" / "model.safetensors")
    assert half.dtype == torch.float32
    want = [value.half().float() for value in model.state_dict().values()]
    torch.testing.assert_close(list(half.state_dict().values()), want, rtol=0, atol=0)
    assert load(tmp_path / "half", dtype=torch.float16).dtype == torch.float16


def test_overrides_apply_to_our_own_folders(tmp_path):
    model = small("audiomae", 256)
    model.save(tmp_path)
    given = {"mean": -1.0, "std": 2.0, "padding": "zero", "labels": ["x", "y", "z"]}
    got = load(tmp_path, frames=128, activation="sigmoid", **given)
    assert (got.config.mean, got.config.std, got.config.padding) == (-1.0, 2.0, "zero")
    assert (got.labels, got.config.frames) == (["x", "y", "z"], 128)
    assert (got.config.activation, got.config.metric) == ("sigmoid", "mAP")
    rows = model.positions[:, : 1 + 8 * 8]
    torch.testing.assert_close(got.positions, rows, rtol=0, atol=0)
    assert not got.positions.requires_grad and got.prefix_tokens.requires_grad
    for wrong in ({"labels": ["x"]}, {"stride": 10}, {"frames": 3}, {"padding": "ones"}):
        with pytest.raises(SpectrimError):
            load(tmp_path, **wrong)


def test_a_plan_of_ones_own_code_needs_leave(tmp_path):
    plan = Plan((Stage(2, keep_rate=0.5, score=f"{__name__}:Learned"),))
    model = small("audiomae", plan=plan)
    model.learned[0].weight.data.fill_(-1.0)
    model.save(tmp_path)
    with pytest.raises(SpectrimError, match="trust_code=True"):
        load(tmp_path)
    features = torch.randn(1, 128, 128)
    torch.testing.assert_close(load(tmp_path, trust_code=True)(features), model(features))


def test_the_old_name_of_trust_code_still_works(tmp_path):
    plan = Plan((Stage(2, keep_rate=0.5, score=f"{__name__}:Learned"),))
    small("audiomae", plan=plan).save(tmp_path)
    with pytest.warns(SpectrimNotice, match="write trust_code"):
        assert load(tmp_path, own_code=True).plan == plan


def test_what_was_assumed_is_returned_as_data(tmp_path):
    path = tmp_path / "model.pth"
    torch.save(foreign.audiomae(head=False), path)
    with warnings.catch_warnings():
        warnings.simplefilter("error", SpectrimNotice)
        loaded = load_with_assumptions(path, LoadOptions(mean=-5.0, frames=96, labels=["a", "b"]))
    assert loaded.has_fresh_head and loaded.where == str(path)
    assert set(loaded.assumed) == {"std", "padding", "activation", "head"}
    assert (loaded.stored.frames, loaded.model.config.frames) == (128, 96)
    assert (loaded.stored.mean, loaded.model.config.mean) == (AUDIOSET_MEAN, -5.0)
    assert loaded.model.labels == ["a", "b"]
    head, values = loaded.notes()
    assert "has no head" in head and "pass std=, padding=, activation=" in values
    with pytest.warns(SpectrimNotice) as notices:
        load(path, mean=-5.0, frames=96, labels=["a", "b"])
    assert [str(notice.message) for notice in notices] == [f"{head} {values}"]


def test_damage_to_our_own_folder_is_named(tmp_path):
    small().save(tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    wrong = {
        "version": ({"version": 99}, "version 99"),
        "missing": ({"model": {"name": "x"}}, "labels"),
        "unknown": ({"model": config["model"] | {"widht": 1}}, "width"),
        "type": ({"model": config["model"] | {"stride": None}}, "config.json"),
        "plan": ({"plan": 3}, "config.json"),
        "shape": ({"model": config["model"] | {"frames": 256}}, "positions"),
        "deeper": ({"model": config["model"] | {"depth": 5}}, "blocks.4"),
        "shallower": ({"model": config["model"] | {"depth": 3}}, "blocks.3"),
    }
    for change, word in wrong.values():
        path.write_text(json.dumps(config | change))
        with pytest.raises(SpectrimError, match=word) as error:
            load(tmp_path)
        assert str(tmp_path) in str(error.value)
    path.write_text(json.dumps(config))
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(SpectrimError, match="whole"):
        load(tmp_path)
    weights.unlink()
    with pytest.raises(SpectrimError, match=r"model\.safetensors"):
        load(tmp_path)


def test_built_in_names(tmp_path, monkeypatch):
    small().save(tmp_path / "models" / "ast-words")
    for module in (locating, builtin_models):
        monkeypatch.setattr(module, "builtin_root", lambda: tmp_path / "models")
    assert builtin_names() == ["ast-words"]
    assert load("ast-words").labels == ["a", "b", "c"]
    with pytest.raises(SpectrimError, match="Did you mean 'ast-words'"):
        load("ast-word")
    with pytest.raises(SpectrimError, match=r"spectrim\.create"):
        load("ast-base")
    with pytest.raises(SpectrimError, match="no such file"):
        load("./nowhere")
    for name in ("ast-esc10", "audiomae-esc10"):
        with pytest.raises(SpectrimError, match=r"Use '.*-esc50'.* at commit [0-9a-f]{7}") as error:
            load(name)
        assert name in str(error.value)
    with pytest.raises(SpectrimError, match="no longer built in"):
        builtin_models.card("ast-esc10")
    (tmp_path / "ast-words").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.warns(SpectrimNotice, match=r"\./ast-words"):
        assert load("ast-words").labels == ["a", "b", "c"]


def test_devices_and_dtypes_by_name(tmp_path):
    small().save(tmp_path)
    for wrong in (
        {"device": "cdua"},
        {"device": "cuda:99"},
        {"device": "meta"},
        {"dtype": "float23"},
        {"dtype": "int8"},
    ):
        with pytest.raises(SpectrimError, match=next(iter(wrong.values()))):
            load(tmp_path, **wrong)


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as snapshot_download asks for one public model."""

    folder = None
    sha = "0123456789abcdef0123456789abcdef01234567"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.answer()

    def answer(self):
        files = {path.name: path.read_bytes() for path in self.folder.iterdir()}
        path, name = self.path.partition("?")[0], self.path.rpartition("/")[2]
        if not path.startswith(("/api/models/owner/name", "/owner/name")):
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        if path.startswith("/api/"):
            entries = [
                {"type": "file", "path": f, "size": len(b), "oid": f} for f, b in files.items()
            ]
            about = {"id": "owner/name", "sha": self.sha}
            about["siblings"] = [{"rfilename": f} for f in files]
            body = json.dumps(entries if "/tree/" in path else about).encode()
        else:
            body = files[name]
        self.send_response(200)
        self.send_header("ETag", f'"{name}"')
        self.send_header("X-Repo-Commit", self.sha)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


@pytest.fixture
def endpoint(tmp_path, monkeypatch):
    """Points huggingface_hub elsewhere, with an empty cache."""
    from huggingface_hub import constants

    def endpoint(url: str) -> None:
        monkeypatch.setattr(constants, "ENDPOINT", url)
        template = url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    return endpoint


def test_a_hub_id_without_network_or_offline(endpoint, monkeypatch):
    from huggingface_hub import constants

    endpoint("http://127.0.0.1:9")
    start = time.monotonic()
    with pytest.raises(SpectrimError, match=r"'owner/name'.*its folder"):
        load("owner/name")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(SpectrimError, match="HF_HUB_OFFLINE"):
        load("owner/name")
    assert time.monotonic() - start < 10


@pytest.mark.filterwarnings("ignore::spectrim.common.errors.SpectrimNotice")
def test_a_hub_id_is_fetched(tmp_path, endpoint, monkeypatch):
    remote = tmp_path / "remote"
    remote.mkdir()
    state = foreign.audiomae()
    torch.save(state, remote / "pytorch_model.bin")
    (remote / "config.json").write_text('{"num_classes": 5}')
    (remote / "README.md").write_text("not wanted")
    monkeypatch.setattr(Hub, "folder", remote)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        endpoint(f"http://127.0.0.1:{server.server_port}")
        model = load("owner/name")
        with pytest.raises(SpectrimError, match="spelling"):
            load("owner/nmae")
    finally:
        server.shutdown()
        server.server_close()
    features = torch.randn(1, 128, 128)
    want = foreign.run_audiomae(state, features)
    torch.testing.assert_close(model(features), want, atol=1e-5, rtol=1e-4)
    assert not list((tmp_path / "cache").rglob("README.md"))
    endpoint("http://127.0.0.1:9")  # the second time, the cache is enough
    torch.testing.assert_close(load("owner/name")(features), model(features))
