"""Wall time of `spectrim --help` and `import spectrim`.

    python benchmarks/startup.py [--rounds 20] [--out FILE]

Runs fresh processes, interleaved with `python -c pass` as the baseline.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

from spectrim.common.files import save_json
from spectrim.models.provenance import versions

COMMANDS = {
    "python": ["-c", "pass"],
    "import spectrim": ["-c", "import spectrim"],
    "spectrim --help": ["-m", "spectrim", "--help"],
}
LOADED = "import sys, spectrim; sys.exit('torch' in sys.modules)"


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for number in range(args.rounds + 1):
        for name, command in COMMANDS.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
            if number:  # the first round fills the disk's cache
                seconds[name].append(time.perf_counter() - began)
    rows = [
        {"what": name, "seconds": statistics.median(times), "slowest": max(times)}
        for name, times in seconds.items()
    ]
    torch_loaded = bool(subprocess.run([sys.executable, "-c", LOADED]).returncode)
    for row in rows:
        print(f"{row['what']:16} {row['seconds']:.3f} s, slowest of {args.rounds}"
              f" {row['slowest']:.3f} s")  # fmt: skip
    print(f"torch imported: {torch_loaded}")
    if args.out:
        record = {"rows": rows, "rounds": args.rounds, "torch_imported": torch_loaded}
        save_json(args.out, record | {"versions": versions()})


if __name__ == "__main__":
    main()
