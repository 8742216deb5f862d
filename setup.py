"""What pyproject.toml cannot express: README for PyPI, where relative links lead nowhere.

GitHub Actions names the repository and the tag of a release. Links into the repository become
absolute there, and plain text in builds elsewhere. All other metadata is in pyproject.toml.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from setuptools import setup

RELATIVE = re.compile(r"(!?)\[([^\]]*)\]\((?!https?://|#)([^)\s]+)\)")
"""A Markdown link or picture with a relative target: mark of a picture, text, target."""


def long_description(readme: str, repository: str | None, ref: str) -> str:
    """README with absolute links.

    Args:
        repository: its URL; None: pictures are left out, and links become their text.
        ref: the tag or branch that the links lead to.
    """

    def absolute(match: re.Match[str]) -> str:
        mark, text, target = match.groups()
        if repository is None:
            return "" if mark else text
        return f"{mark}[{text}]({repository}/{'raw' if mark else 'blob'}/{ref}/{target})"

    return RELATIVE.sub(absolute, readme)


if __name__ == "__main__":
    server, name = os.environ.get("GITHUB_SERVER_URL"), os.environ.get("GITHUB_REPOSITORY")
    repository = f"{server}/{name}" if server and name else None
    readme = (Path(__file__).parent / "README.md").read_text("utf-8")
    setup(
        long_description=long_description(
            readme, repository, os.environ.get("GITHUB_REF_NAME", "main")
        ),
        long_description_content_type="text/markdown",
        project_urls={"Repository": repository} if repository else {},
    )
