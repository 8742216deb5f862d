"""Make the README for PyPI, where relative links do not work.

In a release, GitHub Actions provides the repository and the tag, and relative links become
absolute. In other builds, they become plain text. All other metadata is in pyproject.toml.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from setuptools import setup

RELATIVE = re.compile(r"(!?)\[([^\]]*)\]\((?!https?://|#)([^)\s]+)\)")
"""A Markdown link or picture with a relative target; groups: "!" of a picture, text, target."""


def long_description(readme: str, repository: str | None, ref: str) -> str:
    """Return README.md with absolute links.

    Args:
        repository: URL of the repository; None: links become their text, and pictures are omitted.
        ref: tag or branch that the links point to.
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
