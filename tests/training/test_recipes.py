"""The paper's recipes against its tables, typed here again; and what a bad recipe gets."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator
from dataclasses import Field, fields, is_dataclass
from pathlib import Path

import pytest

import spectrim
from spectrim.common.errors import SpectrimError, SpectrimNotice
from spectrim.common.values import Range
from spectrim.training.read_recipe import folder_of, read_recipe, to_dict, to_yaml
from spectrim.training.recipe import LOAD_OPTIONS, PretrainRecipe, Recipe

RECIPES = Path(__file__).parents[2] / "recipes"
NAMES = sorted(path.name for path in RECIPES.glob("*.yaml"))

# PAPER.md sections 1 and 4, row by row. AST's epochs are given from 1 there.
PAPER = {
    "ast-as20k": {
        "epochs": 30, "start": 15 - 1, "length": 10, "from_epoch": 25 - 1, "batch": 64,
        "lr": 1e-4, "mixup": 0.5, "spec": (192, 48), "roll_gain": False, "noise_shift": False,
        "step": (10, 5, 0.5), "warmup_steps": 1000, "data": "as20k", "split": "test",
    },
    "ast-spc2": {
        "epochs": 30, "start": 5 - 1, "length": 15, "from_epoch": 20 - 1, "batch": 128,
        "lr": 2.5e-4, "mixup": 0.6, "spec": (48, 48), "roll_gain": False, "noise_shift": True,
        "step": (5, 1, 0.85), "warmup_steps": 0, "data": "spc2", "split": "valid",
    },
    "ast-esc50": {
        "epochs": 30, "start": 5 - 1, "length": 15, "from_epoch": 20 - 1, "batch": 48,
        "lr": 1e-5, "mixup": 0.0, "spec": (96, 24), "roll_gain": False, "noise_shift": False,
        "step": (5, 1, 0.85), "warmup_steps": 0, "data": "esc50", "split": "test",
    },
    "audiomae-as20k": {
        "epochs": 60, "start": 30, "length": 20, "from_epoch": 50, "batch": 2 * 16,
        "mixup": 0.5, "spec": (192, 48), "roll_gain": True, "noise_shift": False,
        "tokens": 0.7, "data": "as20k", "split": "test",
    },
    "audiomae-spc2": {
        "epochs": 90, "start": 10, "length": 30, "from_epoch": 40, "batch": 2 * 256,
        "mixup": 0.5, "spec": (48, 48), "roll_gain": True, "noise_shift": True,
        "tokens": 1.0, "data": "spc2", "split": "test",
    },
    "audiomae-esc50": {
        "epochs": 120, "start": 20, "length": 40, "from_epoch": 60, "batch": 2 * 64,
        "mixup": 0.0, "spec": (96, 24), "roll_gain": True, "noise_shift": False,
        "tokens": 0.7, "data": "esc50", "split": "test",
    },
    "audiomae-voxceleb1": {
        "epochs": 90, "start": 20, "length": 40, "from_epoch": 60, "batch": 2 * 32,
        "mixup": 0.0, "spec": (192, 48), "roll_gain": False, "noise_shift": True,
        "tokens": 1.0, "data": "vox", "split": "test",
    },
}  # fmt: skip
DATA = {
    # frames, mean, std, loss, metric
    "as20k": (1024, -4.2677393, 4.5689974, "bce", "mAP"),
    "spc2": (128, -6.845978, 5.5654526, "bce", "accuracy"),
    "esc50": (512, -6.6268077, 5.358466, "ce", "accuracy"),
    "vox": (1024, -6.370, 3.074, "ce", "accuracy"),
}
BASE = "data: {manifest: clips.csv}\noptim: {lr: 1.0e-3}\n"


def of_paper(name: str) -> tuple[Recipe, dict]:
    return read_recipe(RECIPES / f"{name}.yaml", (), Recipe), PAPER[name]


@pytest.fixture
def recipe(tmp_path):
    """`recipe(text, *changes)`: read a recipe of that text."""

    def read(text, *changes, kind=Recipe):
        path = tmp_path / "some.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_recipe(path, changes, kind)

    return read


@pytest.mark.parametrize("name", PAPER)
def test_epochs_batch_and_schedule_are_the_papers(name):
    recipe, paper = of_paper(name)
    assert recipe.epochs == paper["epochs"]
    assert recipe.optim.batch_size == paper["batch"]
    assert (recipe.schedule.start, recipe.schedule.length) == (paper["start"], paper["length"])
    assert (recipe.select.split, recipe.select.from_epoch) == (paper["split"], paper["from_epoch"])
    assert recipe.select.every == 1
    assert recipe.blocks == [3, 6, 9]
    assert (recipe.score, recipe.reduction) == ("attention", "keep-top")
    assert recipe.teacher.model is None


@pytest.mark.parametrize("name", PAPER)
def test_features_loss_and_metric_are_the_papers(name):
    recipe, paper = of_paper(name)
    frames, mean, std, loss, metric = DATA[paper["data"]]
    model = recipe.model
    assert (model.frames, model.mean, model.std) == (frames, mean, std)
    assert (recipe.loss.name, recipe.loss.smoothing) == (loss, 0)
    assert recipe.select.metric == metric
    assert model.padding == "minimum"
    assert recipe.data.labels == ("audioset" if paper["data"] == "as20k" else None)
    assert (recipe.data.test_fold is not None) == (paper["data"] == "esc50")


@pytest.mark.parametrize("name", PAPER)
def test_the_head_is_fresh_and_the_model_the_papers(name):
    recipe, _ = of_paper(name)
    model = recipe.model
    assert model.fresh_head is True
    if name.startswith("audiomae"):
        assert model.preset == "audiomae-base"
        assert (model.head_std, model.drop_path) == (2e-5, 0.1)
    else:
        assert model.preset == "ast-base"
        assert (model.head_std, model.drop_path) == (0.02, 0)


@pytest.mark.parametrize("name", PAPER)
def test_optimiser_and_learning_rate_are_the_papers(name):
    recipe, paper = of_paper(name)
    optim = recipe.optim
    assert optim.clip is None
    if name.startswith("audiomae"):
        assert (optim.name, optim.betas, optim.weight_decay) == ("adamw", [0.9, 0.95], 1e-4)
        assert (optim.layer_decay, optim.decay_all) == (0.75, False)
        assert (optim.base_lr, optim.lr, optim.min_lr) == (1e-3, None, 1e-5)
        assert (optim.schedule, optim.warmup_epochs, optim.warmup_steps) == ("cosine", 4, 0)
    else:
        assert (optim.name, optim.betas, optim.weight_decay) == ("adam", [0.95, 0.999], 5e-7)
        assert (optim.layer_decay, optim.decay_all) == (1, True)
        assert (optim.lr, optim.base_lr) == (paper["lr"], None)
        assert (optim.schedule, optim.warmup_epochs) == ("step", 0)
        assert (optim.step_start, optim.step_every, optim.step_factor) == paper["step"]
        assert optim.warmup_steps == paper["warmup_steps"]
        assert optim.warmup_every == (50 if optim.warmup_steps else 1)


@pytest.mark.parametrize("name", PAPER)
def test_augmentation_is_the_papers(name):
    recipe, paper = of_paper(name)
    augment = recipe.augment
    assert (augment.spec_time, augment.spec_frequency) == paper["spec"]
    assert (augment.mixup, augment.mixup_alpha) == (paper["mixup"], 10)
    assert (augment.roll, augment.gain) == (paper["roll_gain"],) * 2
    noise_shift = (0.1, 10) if paper["noise_shift"] else (0, 0)
    assert (augment.noise, augment.shift) == noise_shift
    assert (augment.token_columns, augment.token_rows) == (paper.get("tokens", 1.0),) * 2


def test_pre_training_on_audioset_is_the_papers():
    recipe = read_recipe(RECIPES / "pretrain-audioset.yaml", (), PretrainRecipe)
    optim = recipe.optim
    assert (recipe.epochs, recipe.mask, recipe.decoder_width) == (33, 0.8, 512)
    assert (optim.name, optim.betas, optim.weight_decay) == ("adamw", [0.9, 0.95], 1e-4)
    assert (optim.base_lr, optim.batch_size, optim.warmup_epochs) == (2e-4, 512, 3)
    assert (optim.schedule, optim.min_lr) == ("cosine", 0)
    assert (recipe.model.frames, recipe.model.mean, recipe.model.std) == DATA["as20k"][:3]


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_is_read_and_its_whole_text_says_the_same(name, recipe, tmp_path):
    kind = PretrainRecipe if name.startswith("pretrain-") else Recipe
    changes = ("data.manifest=mine.csv",)
    read = read_recipe(RECIPES / name, changes, kind)
    assert isinstance(read, kind) and read.data.manifest == "mine.csv"
    assert to_dict(recipe(to_yaml(read), kind=kind)) == to_dict(read)


def test_changes_win_over_the_file_and_later_ones_over_earlier_ones(recipe):
    read = recipe(BASE, "optim.lr=1e-4", "optim.lr=2e-4", "blocks=[1,2]", "data.test_fold=2")
    assert (read.optim.lr, read.blocks, read.data.test_fold) == (2e-4, [1, 2], "2")
    lists = recipe(BASE, "data.manifest=[a.csv,b.csv]", "optim.betas=[0.5,0.6]", "init=a=b.pth")
    assert lists.data.manifest == ["a.csv", "b.csv"]
    assert (lists.optim.betas, lists.init) == ([0.5, 0.6], "a=b.pth")


def test_a_change_replaces_only_its_own_key(recipe):
    assert to_dict(recipe(BASE, "optim.lr=0.001")) == to_dict(recipe(BASE))
    read, base = to_dict(recipe(BASE, "augment.gain=true")), to_dict(recipe(BASE))
    base["augment"]["gain"] = True
    assert read == base


@pytest.mark.parametrize(
    ("change", "key", "offered"),
    [
        ("epoch=3", "'epoch'", "'epochs'"),
        ("keeprate=0.5", "'keeprate'", "'keep_rate'"),
        ("optim.lrr=1", "'optim.lrr'", "'optim.lr'"),
        ("optim.weightdecay=1", "'optim.weightdecay'", "'optim.weight_decay'"),
        ("augment.mix=1", "'augment.mix'", "'augment.mixup'"),
        ("schedule.begin=1", "'schedule.begin'", "'schedule"),
    ],
)
def test_a_key_that_does_not_exist_is_named_with_the_nearest(recipe, change, key, offered):
    key_of, _, value = change.partition("=")
    outer, _, inner = key_of.rpartition(".")
    plain = f"{inner}: {value}\n"
    text = BASE + (f"{outer}:\n  {plain}" if outer else plain)
    text = text if outer != "optim" else BASE.replace("}\n", "}\n", 1).replace(
        "lr: 1.0e-3", f"lr: 1.0e-3, {inner}: {value}"
    )  # fmt: skip
    for given, changes in ((BASE, (change,)), (text, ())):
        with pytest.raises(SpectrimError) as caught:
            recipe(given, *changes)
        said = str(caught.value)
        assert f"no key {key}" in said
        assert offered in said.split("Did you mean")[1].split("Known")[0]


def test_pre_training_has_no_keep_rate(recipe):
    with pytest.raises(SpectrimError, match="'keep_rate' is a key of recipes for `spectrim train`"):
        recipe(BASE, "keep_rate=0.5", kind=PretrainRecipe)


BAD_VALUES = [
    # another type
    "epochs=1.5", "epochs=many", "epochs=true", "epochs=null", "optim.lr=fast", "optim.betas=0.9",
    "optim.betas=[0.9,x]", "blocks=3", "model.frames=long", "augment.roll=perhaps", "load=3",
    "optim=3", "epochs.more=3", "keep_rate=null", "keep_rate=true",
    # nan and its kin
    "optim.lr=nan", "optim.lr=.inf", "model.mean=nan", "model.std=nan", "augment.noise=.nan",
    "schedule.start=nan", "optim.betas=[0.9,nan]", "optim.betas=[nan,0.9]",
    # out of range
    "epochs=0", "optim.batch_size=0", "augment.mixup=1.5", "augment.mixup=-0.1",
    "augment.token_rows=2", "data.holdout=1", "data.holdout=-1", "model.drop_path=1",
    "teacher.weight=2", "teacher.temperature=0", "optim.betas=[0.9]", "optim.betas=[0.9,1]",
    "loss.smoothing=7", "run.micro_batch=0", "select.every=0", "data.workers=0", "model.frames=0",
    # choices
    "optim.name=sgd", "optim.schedule=linear", "loss.name=mse", "select.split=train",
    "select.metric=f1", "run.precision=int8", "run.device=tpu", "model.padding=loud",
    # no change, no YAML
    "optim.lr", "epochs", "optim.lr=[1", "optim.lr={",
    # what must not be given together, or not at all
    "optim.lr=null", "augment.join=true",
]  # fmt: skip


def limited(part: object, limit: str, prefix: str = "") -> Iterator[tuple[str, Field]]:
    """Key and field of every value whose metadata has a limit of this kind."""
    for entry in fields(part):
        value = getattr(part, entry.name)
        if is_dataclass(value):
            yield from limited(value, limit, f"{prefix}{entry.name}.")
        elif limit in entry.metadata:
            yield prefix + entry.name, entry


def cases(limit: str) -> list:
    return [
        pytest.param(key, entry, kind, id=f"{kind.__name__}-{key}")
        for kind in (Recipe, PretrainRecipe)
        for key, entry in limited(kind(), limit)
    ]


@pytest.mark.parametrize(("key", "entry", "kind"), cases("range"))
def test_every_range_of_a_recipe_is_enforced(recipe, key, entry, kind):
    """Just outside each bound is refused with the key named; no default lies outside."""
    bounds: Range = entry.metadata["range"]
    step = 1 if "int" in entry.type else 1e-6
    outside = [bounds.least - step, bounds.most + step, bounds.above, bounds.below]
    outside = [value for value in outside if math.isfinite(value)]
    assert outside
    for value in outside:
        given = f"[{value},0.5]" if "length" in entry.metadata else value
        with pytest.raises(SpectrimError, match=f"{key} is .*; expected .*{bounds}"):
            recipe(BASE, f"{key}={given}", kind=kind)
    for value in (bounds.least, bounds.most):
        assert not math.isfinite(value) or value in bounds


@pytest.mark.parametrize(("key", "entry", "kind"), cases("choices"))
def test_every_choice_of_a_recipe_is_enforced(recipe, key, entry, kind):
    with pytest.raises(SpectrimError, match=f"{key} is 'neither'.*{entry.metadata['choices'][0]}"):
        recipe(BASE, f"{key}=neither", kind=kind)
    for choice in entry.metadata["choices"]:
        recipe(BASE, f"{key}={choice}", kind=kind)


@pytest.mark.parametrize(("key", "entry", "kind"), cases("keys"))
def test_load_options_are_arguments_of_load_and_others_are_refused(recipe, key, entry, kind):
    assert entry.metadata["keys"] == LOAD_OPTIONS
    assert set(LOAD_OPTIONS) <= set(inspect.signature(spectrim.load).parameters)
    with pytest.raises(SpectrimError, match=f"{key} has no key 'frames'"):
        recipe(BASE, f"{key}.frames=96", kind=kind)


@pytest.mark.parametrize("part", ["load", "teacher.load"])
def test_the_old_name_of_trust_code_is_read_with_a_note(recipe, part):
    outer = f"{part}: {{own_code: true}}" if part == "load" else "teacher: {load: {own_code: true}}"
    for text, changes in ((BASE, [f"{part}.own_code=true"]), (f"{BASE}{outer}\n", [])):
        with pytest.warns(SpectrimNotice, match=f"{part}.own_code is now called {part}.trust_code"):
            read = recipe(text, *changes)
        assert (read.load if part == "load" else read.teacher.load) == {"trust_code": True}


@pytest.mark.parametrize(
    "change",
    [
        *BAD_VALUES,
        "keep_rate=nan",
        "keep_rate=0",
        "keep_rate=1.5",
        "keep_rate=-1",
        "optim.lr=0",
        "optim.lr=-1",
        'init="\\ud83d"',  # half of a character
        "epochs=${epoch}",  # names what is not found, not the key that asks for it
    ],
)
def test_a_bad_value_is_refused_and_its_key_named(recipe, change):
    key = change.partition("=")[0]
    with pytest.raises(SpectrimError) as caught:
        recipe(BASE, change)
    assert key in str(caught.value)


@pytest.mark.parametrize("rate", ["0", "0.0", "1.5", "-0.5", "nan", ".inf", "null", "x"])
def test_a_keep_rate_that_is_no_rate_is_refused(recipe, rate):
    for given, changes in ((BASE, (f"keep_rate={rate}",)), (f"{BASE}keep_rate: {rate}\n", ())):
        if rate == "nan" and not changes:
            given = given.replace("nan", ".nan")
        with pytest.raises(SpectrimError, match=r"keep.rate"):
            recipe(given, *changes)


@pytest.mark.parametrize("mask", ["0", "1", "-1", "1.5", "nan", "x"])
def test_a_share_of_hidden_patches_lies_between_0_and_1(recipe, mask):
    with pytest.raises(SpectrimError, match="mask"):
        recipe(BASE, f"mask={mask}", kind=PretrainRecipe)


def test_one_learning_rate_is_given_not_two_nor_none(recipe):
    for text in (
        "data: {manifest: a.csv}\noptim: {lr: 1.0e-3, base_lr: 1.0e-3}\n",
        "data: {manifest: a.csv}\n",
    ):
        with pytest.raises(SpectrimError, match=r"some.yaml.*optim\.lr or optim\.base_lr"):
            recipe(text)


def test_a_learning_rate_on_the_command_line_replaces_the_files_of_either_kind(recipe):
    assert recipe(BASE, "optim.base_lr=1e-3").optim.lr is None
    text = "data: {manifest: a.csv}\noptim: {base_lr: 1.0e-3}\n"
    assert recipe(text, "optim.lr=1e-4").optim.base_lr is None


@pytest.mark.parametrize(("key", "kind"), [("mask", Recipe), ("schedule", PretrainRecipe)])
def test_a_recipe_of_the_other_kind_is_told_apart(recipe, key, kind):
    command = "pretrain" if kind is Recipe else "train"
    with pytest.raises(SpectrimError, match=f"{key}.*`spectrim {command}`"):
        recipe(f"{BASE}\n{key}: 0.5\n" if kind is Recipe else f"{BASE}\n{key}: {{}}\n", kind=kind)


def test_clips_must_be_named(recipe):
    for text in ("", "optim: {lr: 1.0e-3}\n", "{}"):
        with pytest.raises(SpectrimError, match=r"some.yaml: data\.manifest is not given"):
            recipe(text)


@pytest.mark.parametrize(
    "text",
    [
        "epochs: [",
        "a: b: c",
        "\t- x",
        b"\xff\xfe\x00\x01",
        b"RIFF\x00\x00\x00\x00WAVEfmt ",
        "3",
        "true",
        "epochs: !!python/object/apply:os.system [true]",
        "? [a]\n: 1\n",
    ],
)
def test_a_file_that_is_no_recipe_is_named(recipe, text):
    with pytest.raises(SpectrimError, match=r"some\.yaml"):
        recipe(text)


@pytest.mark.parametrize("text", ["- a\n- b\n", "[1, 2]", "- {epochs: 3}"])
def test_a_list_is_no_recipe(recipe, text):
    with pytest.raises(SpectrimError, match=r"some\.yaml"):
        recipe(text)


@pytest.mark.parametrize("change", ["optim.betas[0]=0.5", "blocks[1]=2"])
def test_a_change_of_one_element_is_refused(recipe, change):
    with pytest.raises(SpectrimError, match=r"optim\.betas|blocks"):
        recipe(BASE, change)


@pytest.mark.parametrize("key", ["optim", "data", "schedule"])
def test_a_number_in_the_place_of_a_part_is_refused_by_its_key(recipe, key):
    text = {"optim": "data: {manifest: a}", "data": "optim: {lr: 1}"}.get(key, BASE)
    with pytest.raises(SpectrimError, match=rf"\b{key}\b"):
        recipe(f"{text}\n{key}: 3\n")


@pytest.mark.parametrize("name", ["none.yaml", "."])
def test_a_file_that_is_not_there_is_named(tmp_path, name):
    with pytest.raises(SpectrimError, match="expected a recipe"):
        read_recipe(tmp_path / name, (), Recipe)


# The first three end in a bare traceback of NumPy's; most others train nonsense.
UNCHECKED = [
    "seed=-1",  # numpy: expected non-negative integer
    "augment.mixup_alpha=0",  # numpy: a <= 0
    "augment.shift=-3",  # numpy: low >= high
    "augment.spec_time=-5",  # a mask of negative width
    "augment.noise=-1",
    "optim.weight_decay=-1",  # weights grow
    "optim.clip=-1",  # turns the gradient around
    "optim.clip=0",  # is taken for "any"
    "optim.layer_decay=-1",
    "optim.min_lr=-1",
    "optim.warmup_epochs=-1",
    "schedule.length=-1",  # the keep-rate swings for ever
    "model.std=0",  # refused only after the clips are read, and without its key
    "model.std=-1",
]


@pytest.mark.parametrize("change", UNCHECKED)
def test_a_value_that_nothing_can_be_done_with_is_refused(recipe, change):
    with pytest.raises(SpectrimError, match=change.partition("=")[0]):
        recipe(BASE, change)


@pytest.mark.parametrize("change", ["decoder_heads=3", "decoder_width=100"])
def test_a_decoder_whose_heads_do_not_divide_it_is_refused(recipe, change):
    with pytest.raises(SpectrimError, match="decoder_"):
        recipe(BASE, change, kind=PretrainRecipe)


def test_the_same_command_has_the_same_folder():
    path = Path("recipes/esc10.yaml")
    assert folder_of(path, ()) == Path("runs/esc10")
    changes = ("keep_rate=0.7", "score=variation")
    assert folder_of(path, changes) == folder_of(path, list(changes))
    assert folder_of(path, changes).parent == Path("runs")
    long = tuple(f"augment.mixup={number}" for number in range(40))
    assert folder_of(path, long) == folder_of(path, long)


def test_other_changes_have_another_folder():
    path = Path("recipes/esc10.yaml")
    long = tuple(f"augment.mixup={number}" for number in range(40))
    commands = [
        (), ("keep_rate=0.7",), ("keep_rate=0.75",), ("keep_rate=-0.7",), ("keep_rate=1e-1",),
        ("keep_rate=1e+1",), ("keep_rate=0.7", "seed=1"), ("seed=1",), ("seed=11",),
        ("blocks=[3]",), ("blocks=[3,6]",), ("blocks=[6,3]",), long, (*long, "seed=1"),
        (*long[:-1], "augment.mixup=41"), ("seed=1", *long),
    ]  # fmt: skip
    folders = [folder_of(path, changes) for changes in commands]
    assert len(set(folders)) == len(folders)
    assert folder_of(Path("recipes/esc50.yaml"), ()) != folders[0]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("init=runs/a/last", "init=runs_a_last"),
        ("data.manifest=a/b.csv", "data.manifest=a b.csv"),
        ("score=mine:loud", "score=mine/loud"),
    ],
)
def test_changes_that_differ_in_a_sign_have_another_folder(one, other):
    assert folder_of(Path("a.yaml"), [one]) != folder_of(Path("a.yaml"), [other])


@pytest.mark.parametrize(
    "change",
    [
        "init=" + "x" * 400,
        "data.manifest=../../etc/passwd",
        "init=/abs/olute",
        "init=a\0b",
        "init=" + "録音" * 55,
    ],
)
def test_a_folder_is_one_name_that_a_file_system_takes(change):
    folder = folder_of(Path("esc10.yaml"), [change])
    assert folder.parent == Path("runs")
    assert folder.name not in (".", "..") and "\0" not in folder.name
    assert len(folder.name.encode()) <= 255


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ("load.labels=names.txt", r"load\.labels has no effect without init.*data\.labels"),
        ("teacher.load.pool=patches", r"teacher\.load\.pool has no effect without teacher\.model"),
    ],
)
def test_load_options_of_no_checkpoint_are_noted(change, text):
    path = RECIPES / "finetune.yaml"
    with pytest.warns(SpectrimNotice, match=text):
        read_recipe(path, ["data.manifest=x.csv", change], Recipe)


@pytest.mark.parametrize("change", ["blocks=3", "blocks=six", "optim.betas=0.9"])
def test_a_value_in_place_of_a_list_is_named(change):
    with pytest.raises(SpectrimError, match=rf"{change}: expected a list, such as \[3\]"):
        read_recipe(RECIPES / "finetune.yaml", ["data.manifest=x.csv", change], Recipe)
