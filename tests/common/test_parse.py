"""JSON and YAML of unknown origin: right values, or a sentence that names the file."""

from __future__ import annotations

import json

import pytest

from spectrim.common.errors import SpectrimError
from spectrim.common.parse import MAX_DEPTH, parse_json, parse_yaml, read_json, read_yaml

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
)
MERGE_BOMB = "a0: &a0 {x: 1, y: 2}\n" + "".join(
    f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}\n" for n in range(1, 12)
)


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 5_000, 200_000])
@pytest.mark.parametrize("brackets", ["[]", "{}"])
def test_deep_json_is_refused(tmp_path, depth, brackets):
    start = brackets[0] if brackets == "[]" else '{"a":'
    path = tmp_path / "deep.json"
    path.write_text(start * depth + "1" + brackets[1] * depth)
    with pytest.raises(SpectrimError, match=r"deep\.json is nested deeper than 100 levels"):
        read_json(path)


def test_json_up_to_the_limit_is_read():
    value = parse_json("[" * MAX_DEPTH + "1" + "]" * MAX_DEPTH, "here")
    for _ in range(MAX_DEPTH):
        (value,) = value
    assert value == 1


@pytest.mark.parametrize("text", ["9" * 5_000, "[1e5", "\ud800", "NaN}", b"\xff\xfe\x00"])
def test_what_is_not_json_is_a_sentence(text):
    with pytest.raises(SpectrimError, match="here is not valid JSON"):
        parse_json(text, "here")


@pytest.mark.parametrize("text", ["[" * 20_000, "{a: " * 20_000, "- " * 20_000 + "x"])
def test_deep_yaml_is_refused(text):
    with pytest.raises(SpectrimError, match="here"):
        parse_yaml(text, "here")


@pytest.mark.parametrize("text", [BOMB, MERGE_BOMB])
def test_alias_bombs_are_refused_before_they_expand(text):
    with pytest.raises(SpectrimError, match=r"here: its aliases .* expand to more than 200,000"):
        parse_yaml(text, "here")


def test_a_value_that_contains_itself_is_refused():
    with pytest.raises(SpectrimError, match="contains itself"):
        parse_yaml("a: &a [1, *a]", "here")


def test_aliases_and_merge_keys_of_a_normal_file_are_read():
    text = "base: &base {lr: 0.1, steps: 3}\nrun:\n  <<: *base\n  steps: 4\nsame: *base\n"
    expected = {"lr": 0.1, "steps": 3}
    assert parse_yaml(text, "here") == {
        "base": expected,
        "run": {"lr": 0.1, "steps": 4},
        "same": expected,
    }


@pytest.mark.parametrize(
    "text",
    ["a: 2020-13-45", "a: !!int ''", "a: !!float x", "? [1]\n: 2", "a: !!python/name:os.system",
     "a: *nothing", "a: 0x" + "f" * 9_000, "a: =", "\x00", "a: !!timestamp x", "%YAML 9.9\n---\na"],
)  # fmt: skip
def test_odd_yaml_is_read_or_a_sentence(text):
    try:
        parse_yaml(text, "here")
    except SpectrimError as error:
        assert "here" in str(error) and "\n" not in str(error)


@pytest.mark.parametrize("text", ["a: ${oc.env:HOME}", "${a}: 1", "a: [x, {b: 'y ${c}'}]"])
def test_interpolation_is_refused_and_not_resolved(text):
    with pytest.raises(SpectrimError, match=r"\$\{.*plain values"):
        parse_yaml(text, "here")


def test_a_key_that_occurs_twice_is_refused():
    for text in ("a: 1\nb: 2\na: 3", "x: {y: [{a: 1, a: 2}]}", '"a": 1\na: 1'):
        with pytest.raises(SpectrimError, match="'a' occurs twice"):
            parse_yaml(text, "r.yaml")
    assert parse_yaml("x: {a: 1}\na: {a: 2}", "r.yaml") == {"x": {"a": 1}, "a": {"a": 2}}


def test_yaml_files_hold_keys(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("")
    assert read_yaml(path, "a recipe") == {}
    path.write_text("- 1")
    with pytest.raises(SpectrimError, match="expected keys and values, not a list"):
        read_yaml(path, "a recipe")
    path.write_bytes("a: Käse".encode("latin-1"))
    with pytest.raises(SpectrimError, match=r"byte 4 \(0xe4\) is not UTF-8. Save a recipe"):
        read_yaml(path, "a recipe")
    path.write_text("a: " + "x" * 5_000_000)
    with pytest.raises(SpectrimError, match="5,000,003 bytes are too many for a recipe"):
        read_yaml(path, "a recipe")


def test_utf16_and_byte_order_marks_of_json(tmp_path):
    path = tmp_path / "a.json"
    for encoding in ("utf-8-sig", "utf-16", "utf-32"):
        path.write_bytes(json.dumps({"ä": 1}, ensure_ascii=False).encode(encoding))
        assert read_json(path) == {"ä": 1}


@pytest.mark.parametrize("place", ["/dev/zero", "n" * 300, ".", "absent", "a\0b"])
def test_places_without_a_file(tmp_path, monkeypatch, place):
    from pathlib import Path

    monkeypatch.chdir(tmp_path)
    for read in (lambda path: read_yaml(path, "a recipe"), read_json):
        with pytest.raises(SpectrimError, match="cannot read"):
            read(Path(place))
