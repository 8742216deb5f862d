"""A child process that tries inputs one after another and says what became of each.

Reads "KIND NUMBER" per line and answers "right", "sentence" or "fault: TEXT". A limit of memory
holds for the process and a limit of CPU time for each input.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import sys
import tempfile
import traceback
import warnings
from pathlib import Path

SECONDS = 60  # of CPU time per input, so that a busy machine changes nothing
GIBIBYTES = 4  # beyond what the imports take


class TooLong(BaseException):
    """An input took longer than its limit."""


def too_long(*_: object) -> None:
    raise TooLong


def outcome(kind: str, number: int, folder: Path) -> str:
    from fuzz_inputs import KINDS, SENTENCES

    make, read = KINDS[kind]
    value = make(random.Random(f"{kind} {number}"), folder)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        read(value)
    except SENTENCES as error:
        return "sentence" if len(str(error)) < 5000 else "fault: a sentence of over 5000 characters"
    except TooLong:
        return f"fault: took over {SECONDS} s"
    except BaseException as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        text = " ".join(str(error).split())[:300]
        return f"fault: {type(error).__name__} in {last.filename}:{last.lineno}: {text}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return "right"


def main() -> None:
    import fuzz_inputs  # noqa: F401  so that the limit comes on top of what it takes

    warnings.simplefilter("ignore")
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + GIBIBYTES * 2**30
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    signal.signal(signal.SIGPROF, too_long)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with tempfile.TemporaryDirectory() as folder:
        for line in sys.stdin:
            kind, number = line.split()
            answers.write(outcome(kind, int(number), Path(folder)) + "\n")
            answers.flush()


if __name__ == "__main__":
    main()
