"""Put a measured table between the marks of a Markdown page.

    spectrim sweep --out results/sweep-pack > table.txt
    python benchmarks/fill_page.py sweep table.txt docs/getting-started.md

The marks are <!-- measured: NAME --> and <!-- end -->. A text that is not Markdown becomes a code
block.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from spectrim.common.files import save_text


def filled(page: str, text: str, name: str) -> str:
    """The page with `text` between the marks of that name."""
    start, end = f"<!-- measured: {name} -->", "<!-- end -->"
    pattern = re.compile(f"({re.escape(start)}\n).*?({re.escape(end)})", re.DOTALL)
    if not pattern.search(page):
        raise SystemExit(f"the page lacks {start} ... {end}")
    return pattern.sub(lambda match: f"{match[1]}{text}\n{match[2]}", page)


def main() -> None:
    """Read the text, fill the page and save it."""
    if len(sys.argv) != 4:
        raise SystemExit(__doc__)
    name, text_file, page = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    lines = [line.rstrip() for line in text_file.read_text(encoding="utf-8").strip().splitlines()]
    text = "\n".join(lines)
    if not text.startswith("|"):
        text = f"```text\n{text}\n```"
    save_text(page, filled(page.read_text(encoding="utf-8"), text, name))


if __name__ == "__main__":
    main()
