"""The version is the same everywhere, and only the publishing job may get a token."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

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
