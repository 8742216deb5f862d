"""The version is the same everywhere, and only the publishing job may get a token."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path

import pytest
import yaml

import spectrim

ROOT = Path(__file__).resolve().parents[1]


def test_the_version_is_the_same_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert project["version"] == citation["version"] == spectrim.__version__
    (heading, *_) = re.findall(r"^## ([\d.]+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert heading == spectrim.__version__


def test_the_citation_has_the_keys_that_its_format_requires():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation) and citation["type"] == "software"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert citation["license"] == project["license"]


def test_only_the_publishing_job_gets_a_token_and_it_runs_no_code_of_the_clone():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow[True] == {"push": {"tags": ["v*"]}}  # YAML reads the key `on` as true
    jobs = workflow["jobs"]
    assert "permissions" not in jobs["build"]
    publish = jobs["publish"]
    assert publish["permissions"] == {"id-token": "write"} and publish["needs"] == "build"
    assert all("run" not in step for step in publish["steps"])
    assert "secrets." not in (ROOT / ".github" / "workflows" / "release.yml").read_text()


def test_every_extra_has_its_packages_in_the_tested_constraints():
    def normal(name):
        return re.sub(r"[-_.]+", "-", name).lower()

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = [*project["dependencies"]]
    for packages in project["optional-dependencies"].values():
        needed += packages
    names = {normal(re.match(r"[\w.-]+", package)[0]) for package in needed} - {"spectrim"}
    for file in ("constraints.txt", "constraints-lowest.txt"):
        pinned = {
            normal(line.partition("==")[0])
            for line in (ROOT / file).read_text().splitlines() if "==" in line
        }  # fmt: skip
        missing = names - pinned - {"openvino"}  # not part of the development extras
        assert not missing, f"{file} lacks {missing}"


@pytest.fixture(scope="module")
def long_description():
    spec = importlib.util.spec_from_file_location("spectrim_setup", ROOT / "setup.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.long_description


def test_links_of_the_readme_are_absolute_on_pypi_and_lead_to_files(long_description):
    readme = (ROOT / "README.md").read_text("utf-8")
    url = "https://github.com/owner/name"
    text = long_description(readme, url, "v0.1.0")
    targets = re.findall(r"\]\(([^)]*)\)", text)
    assert targets and all(target.startswith("https://") for target in targets)
    inside = [target for target in targets if target.startswith(url)]
    assert f"{url}/raw/v0.1.0/docs/method.png" in inside and len(inside) > 10
    for target in inside:
        path = re.fullmatch(rf"{url}/(?:raw|blob)/v0\.1\.0/([^#]+)(?:#.*)?", target)[1]
        assert (ROOT / path).exists(), target
    for code in re.findall(r"```.*?```", readme, re.DOTALL):
        assert code in text


def test_without_a_repository_links_are_their_text(long_description):
    text = "a [b\nc](docs/d.md#e), [f](https://g.org) and ![h](i.png)."
    assert long_description(text, None, "main") == "a b\nc, [f](https://g.org) and ."
    expected = "a [b\nc](R/blob/main/docs/d.md#e), [f](https://g.org) and ![h](R/raw/main/i.png)."
    assert long_description(text, "R", "main") == expected
