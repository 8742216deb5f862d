"""The state on disk: the next step is the uninterrupted one, and no failure loses a state."""

from __future__ import annotations

import copy
import json
import pickletools
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from spectrim.common.errors import SpectrimError
from spectrim.training.objectives import MaskedAutoEncoder, Supervised
from spectrim.training.optim import optimiser, parameter_groups, set_lr
from spectrim.training.recipe import OptimPart
from spectrim.training.state import Progress, StateFolder


class Run:
    """A module, its optimiser, and steps that depend on nothing but their number."""

    def __init__(self, module: nn.Module, name: str) -> None:
        self.module = module
        optim = OptimPart(name=name, lr=1, betas=[0.9, 0.95], weight_decay=0.05, layer_decay=0.75)
        self.optimiser = optimiser(parameter_groups(module, 2, optim), optim)

    def step(self, number: int) -> None:
        generator = torch.Generator().manual_seed(number)
        features = torch.randn(2, 64, 128, generator=generator)
        valid, weights = torch.tensor([64, 30]), torch.full((2,), 0.5)
        set_lr(self.optimiser, 1e-3 * (number + 1))
        self.optimiser.zero_grad(set_to_none=True)
        if isinstance(self.module, Supervised):
            loss = self.module(features, valid, torch.eye(5)[:2], weights, 1.0)
        else:
            keep = torch.zeros(2, 32, dtype=torch.bool)
            keep[:, number::4] = True
            loss = self.module(features, valid, weights, keep[:, :32])
        loss.backward()
        self.optimiser.step()

    def bits(self) -> dict[str, torch.Tensor]:
        found = {f"w.{n}": v.detach().clone() for n, v in self.module.state_dict().items()}
        for index, values in self.optimiser.state_dict()["state"].items():
            found |= {f"o.{index}.{key}": value.clone() for key, value in values.items()}
        return found


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


@pytest.fixture
def run(make):
    """`run("ast", "adam")`: a fresh run, always from the same weights."""

    def run(family="ast", name="adamw") -> Run:
        model = copy.deepcopy(make(family, frames=64, depth=2))
        if family == "ast":
            return Run(Supervised(model, "ce"), name)
        torch.manual_seed(0)
        return Run(MaskedAutoEncoder(model, 32, 1, 2), name)

    return run


@pytest.fixture
def stepped(run):
    one = run()
    for number in range(2):
        one.step(number)
    return one


def states(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("name", ["adam", "adamw"])
@pytest.mark.parametrize("family", ["ast", "audiomae"])
def test_what_is_restored_goes_on_to_the_same_bits(run, tmp_path, family, name):
    whole, first, second = (run(family, name) for _ in range(3))
    for number in range(3):
        whole.step(number)
        first.step(number)
    folder = StateFolder(tmp_path / "state")
    folder.save(first.module, first.optimiser, Progress(step=3))
    for number in range(7, 9):  # a process that starts anew has made other weights
        second.step(number)
    progress, scaler = folder.restore(second.module, second.optimiser)
    assert progress == Progress(step=3) and scaler is None
    assert same(second.bits(), first.bits())
    for number in range(3, 6):
        whole.step(number)
        second.step(number)
        assert same(second.bits(), whole.bits())


def test_a_fresh_optimiser_takes_a_state(run, stepped, tmp_path):
    folder = StateFolder(tmp_path)
    folder.save(stepped.module, stepped.optimiser, Progress(step=2))
    fresh = run()
    folder.restore(fresh.module, fresh.optimiser)
    assert same(fresh.bits(), stepped.bits())
    groups = [group["scale"] for group in fresh.optimiser.param_groups]
    assert groups == [group["scale"] for group in stepped.optimiser.param_groups]


def test_a_state_with_the_old_name_of_the_prefix_tokens_is_read(run, stepped, tmp_path):
    """Spectrim 0.1 called them `special`; a run that it began can be resumed."""
    folder = StateFolder(tmp_path)
    path = folder.save(stepped.module, stepped.optimiser, Progress(step=2)) / "weights.safetensors"
    weights = load_file(path)
    weights["model.special"] = weights.pop("model.prefix_tokens")
    save_file(weights, path)
    fresh = run()
    folder.restore(fresh.module, fresh.optimiser)
    assert same(fresh.bits(), stepped.bits())


def test_saving_changes_nothing(stepped, tmp_path):
    before = stepped.bits()
    StateFolder(tmp_path).save(stepped.module, stepped.optimiser, Progress(step=2))
    assert same(stepped.bits(), before)


def test_progress_and_the_scaler_come_back_as_they_were(stepped, tmp_path):
    progress = Progress(
        step=17, loss=0.1 + 0.2, clips=96, seconds=1.5e-7,
        unreadable={"a ü.wav": "a ü.wav: empty."},
        rows=[{"epoch": 0, "loss": 1 / 3, "valid": None, "metric": "mAP"}], best={"epoch": 0},
    )  # fmt: skip
    scaler = {"scale": 65536.0, "growth_factor": 2.0, "_growth_tracker": 3}
    folder = StateFolder(tmp_path)
    path = folder.save(stepped.module, stepped.optimiser, progress, scaler)
    assert path == tmp_path / "step-000000017"
    assert folder.restore(stepped.module, stepped.optimiser) == (progress, scaler)


def test_nothing_on_disk_can_run_code(stepped, tmp_path):
    StateFolder(tmp_path).save(stepped.module, stepped.optimiser, Progress(step=2))
    found = files(tmp_path)
    assert {path.suffix for path in found} == {".safetensors", ".json"} and len(found) == 3
    for path in found:
        raw = path.read_bytes()
        assert not raw.startswith((b"PK", b"\x80"))
        with pytest.raises(ValueError):  # no pickle: its opcodes end in nonsense at once
            list(pickletools.genops(raw))
        if path.suffix == ".json":
            json.loads(raw)


def test_where_there_is_no_state_there_is_none(stepped, tmp_path):
    for folder in (tmp_path, tmp_path / "missing"):
        assert StateFolder(folder).newest() is None
        assert StateFolder(folder).restore(stepped.module, stepped.optimiser) is None


def test_the_newest_state_counts_and_the_older_go(stepped, tmp_path):
    folder = StateFolder(tmp_path)
    for step in (9, 10, 99, 100, 1_000_000):
        folder.save(stepped.module, stepped.optimiser, Progress(step=step))
        assert states(tmp_path) == [f"step-{step:09d}"]
    assert folder.restore(stepped.module, stepped.optimiser)[0].step == 1_000_000


def test_the_same_step_may_be_saved_again(stepped, tmp_path):
    folder = StateFolder(tmp_path)
    for clips in (1, 2):
        folder.save(stepped.module, stepped.optimiser, Progress(step=5, clips=clips))
    assert states(tmp_path) == ["step-000000005.1"]  # and the first is gone
    assert folder.restore(stepped.module, stepped.optimiser)[0].clips == 2


def test_of_two_whole_states_the_newer_counts(stepped, tmp_path):
    """As after a kill between the renaming of the new one and the removal of the old one."""
    for step in (2, 10):
        StateFolder(tmp_path / str(step)).save(
            stepped.module, stepped.optimiser, Progress(step=step)
        )
        (tmp_path / str(step) / f"step-{step:09d}").rename(tmp_path / f"step-{step:09d}")
    folder = StateFolder(tmp_path)
    assert folder.newest() == tmp_path / "step-000000010"
    assert folder.restore(stepped.module, stepped.optimiser)[0].step == 10


def test_half_written_folders_of_a_killed_run_are_passed_over(stepped, run, tmp_path):
    folder = StateFolder(tmp_path)
    for name in (".0a1b2c3d", ".ffffffff"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights.safetensors").write_bytes(b"half")
    fresh = run()
    assert folder.restore(fresh.module, fresh.optimiser) is None
    whole = folder.save(stepped.module, stepped.optimiser, Progress(step=2))
    (tmp_path / ".99999999").mkdir()
    assert folder.newest() == whole
    assert folder.restore(fresh.module, fresh.optimiser)[0].step == 2
    assert same(fresh.bits(), stepped.bits())
    folder.save(fresh.module, fresh.optimiser, Progress(step=3))
    assert states(tmp_path) == ["step-000000003"]


def full_after(monkeypatch, writes: int):
    """The disk is full after so many files: half of the next is written."""
    write, count = Path.write_bytes, iter(range(100))

    def limited(path, raw):
        if next(count) >= writes:
            write(path, raw[: len(raw) // 2])
            raise OSError(28, "No space left on device")
        return write(path, raw)

    monkeypatch.setattr(Path, "write_bytes", limited)


@pytest.mark.parametrize("writes", [0, 1])
def test_a_full_disk_leaves_the_earlier_state(run, stepped, tmp_path, monkeypatch, writes):
    folder = StateFolder(tmp_path)
    folder.save(stepped.module, stepped.optimiser, Progress(step=2))
    earlier, raw = stepped.bits(), {path: path.read_bytes() for path in files(tmp_path)}
    stepped.step(2)
    full_after(monkeypatch, writes)
    with pytest.raises(SpectrimError) as caught:
        folder.save(stepped.module, stepped.optimiser, Progress(step=3))
    said = str(caught.value)
    assert "No space left on device" in said and "step-000000002, is intact" in said
    assert states(tmp_path) == ["step-000000002"]
    assert {path: path.read_bytes() for path in files(tmp_path)} == raw
    fresh = run()
    assert folder.restore(fresh.module, fresh.optimiser)[0].step == 2
    assert same(fresh.bits(), earlier)


def test_a_disk_full_from_the_start_says_that_there_is_no_state(stepped, tmp_path, monkeypatch):
    full_after(monkeypatch, 0)
    with pytest.raises(SpectrimError, match=r"No space left on device.*none"):
        StateFolder(tmp_path / "state").save(stepped.module, stepped.optimiser, Progress(step=1))
    assert states(tmp_path / "state") == []


def test_progress_that_cannot_be_written_leaves_the_earlier_state(stepped, tmp_path, monkeypatch):
    folder = StateFolder(tmp_path)
    folder.save(stepped.module, stepped.optimiser, Progress(step=2))

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(SpectrimError, match="step-000000002, is intact"):
        folder.save(stepped.module, stepped.optimiser, Progress(step=3))
    assert states(tmp_path) == ["step-000000002"]


def test_a_folder_that_cannot_be_made_is_named(stepped, tmp_path):
    (tmp_path / "state").write_text("a file")
    with pytest.raises(SpectrimError, match=r"cannot save the state in .*state"):
        StateFolder(tmp_path / "state").save(stepped.module, stepped.optimiser, Progress(step=1))


def test_a_failure_while_the_same_step_is_replaced_leaves_one_of_the_two(
    stepped, tmp_path, monkeypatch
):
    folder = StateFolder(tmp_path)
    folder.save(stepped.module, stepped.optimiser, Progress(step=2))

    def fails(path, target):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(SpectrimError):
        folder.save(stepped.module, stepped.optimiser, Progress(step=2))
    assert folder.newest() is not None


def test_a_number_that_json_does_not_know_is_said(stepped, tmp_path):
    folder = StateFolder(tmp_path)
    folder.save(stepped.module, stepped.optimiser, Progress(step=2))
    with pytest.raises(SpectrimError):
        folder.save(stepped.module, stepped.optimiser, Progress(step=3, loss=float("nan")))
    assert states(tmp_path) == ["step-000000002"]


def test_a_killed_save_leaves_the_earlier_state(stepped, tmp_path, monkeypatch):
    """What no handler sees: the process ends in the middle of any of the writes or renames."""

    class Killed(BaseException):
        pass

    folder = StateFolder(tmp_path)
    folder.save(stepped.module, stepped.optimiser, Progress(step=2))

    def killed(*args, **kwargs):
        raise Killed

    for name in ("mkdir", "write_bytes", "write_text", "rename"):
        with monkeypatch.context() as patched:
            patched.setattr(Path, name, killed)
            with pytest.raises(Killed):
                folder.save(stepped.module, stepped.optimiser, Progress(step=3))
        assert folder.newest() == tmp_path / "step-000000002"
        assert folder.restore(stepped.module, stepped.optimiser)[0].step == 2


# ---- states of something else


def rewritten(path: Path, **changes) -> None:
    about = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in about.items() if v != "gone"}))


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_version_is_refused(stepped, tmp_path, version):
    folder = StateFolder(tmp_path)
    path = folder.save(stepped.module, stepped.optimiser, Progress(step=2))
    rewritten(path / "progress.json", version=version)
    with pytest.raises(SpectrimError, match=rf"step-000000002: version {version!r}.*--out"):
        folder.restore(stepped.module, stepped.optimiser)


def test_a_state_of_another_model_is_refused(stepped, run, make, tmp_path):
    folder = StateFolder(tmp_path)
    folder.save(stepped.module, stepped.optimiser, Progress(step=2))
    longer = Run(Supervised(copy.deepcopy(make("ast", frames=128, depth=2)), "ce"), "adamw")
    deeper = Run(Supervised(copy.deepcopy(make("ast", frames=64, depth=3)), "ce"), "adamw")
    for other in (longer, deeper, run("audiomae")):
        with pytest.raises(SpectrimError, match=r"not a state of this run.*--out"):
            folder.restore(other.module, other.optimiser)


@pytest.mark.parametrize("file", ["weights.safetensors", "optimiser.safetensors", "progress.json"])
@pytest.mark.parametrize("damage", ["gone", "cut", "empty", "garbage"])
def test_a_damaged_state_is_named(stepped, tmp_path, file, damage):
    folder = StateFolder(tmp_path)
    path = folder.save(stepped.module, stepped.optimiser, Progress(step=2)) / file
    raw = path.read_bytes()
    path.unlink()
    if damage != "gone":
        path.write_bytes(
            {"cut": raw[: len(raw) // 2], "empty": b"", "garbage": b"\x07" * 99}[damage]
        )
    with pytest.raises(SpectrimError, match="step-000000002"):
        folder.restore(stepped.module, stepped.optimiser)


@pytest.mark.parametrize(
    "changes",
    [{"progress": "gone"}, {"optimiser": "gone"}, {"progress": {"odd": 1}}, {"progress": 3}],
)
def test_progress_that_says_something_else_is_named(stepped, tmp_path, changes):
    folder = StateFolder(tmp_path)
    path = folder.save(stepped.module, stepped.optimiser, Progress(step=2))
    rewritten(path / "progress.json", **changes)
    with pytest.raises(SpectrimError, match="step-000000002"):
        folder.restore(stepped.module, stepped.optimiser)


def test_progress_that_is_a_list_is_named(stepped, tmp_path):
    folder = StateFolder(tmp_path)
    path = folder.save(stepped.module, stepped.optimiser, Progress(step=2))
    (path / "progress.json").write_text("[]")
    with pytest.raises(SpectrimError, match="step-000000002"):
        folder.restore(stepped.module, stepped.optimiser)
