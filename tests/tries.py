"""`python -m tests.tries WORKERS`: every test, and those that fail again, alone.

Whole clusters share a machine of two cores here, and one test's disk is another's stall. What fails
beside the others is run once more, alone; what fails then, a third time after a pause. Whoever
needed another try is named at the end, and is a fault to look into; only a test that fails every
time fails the run.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.groups import plain

PAUSE = 30.0
"""Seconds before the last try: what a dying cluster leaves in the kernel ends by then."""
TESTS_FAILED = 1
"""pytest's exit status when all tests were run and some failed."""


def run(arguments: Sequence[str]) -> tuple[int, list[str]]:
    """pytest's exit status and the tests that failed."""
    with tempfile.TemporaryDirectory(prefix="kedge-tries-") as cache:
        argv = [sys.executable, "-m", "pytest", "-o", f"cache_dir={cache}", *arguments]
        status = subprocess.run(argv, check=False).returncode
        failures = Path(cache) / "v/cache/lastfailed"
        failed = plain(json.loads(failures.read_text())) if failures.exists() else []
    return status, failed


def say(text: str, tests: Sequence[str] = ()) -> None:
    """One line, and the tests that it is about below it."""
    print("\n".join([f"\n== {text}", *(f"   {test}" for test in tests)]), flush=True)


def main(workers: str) -> int:
    """0 if every test has passed in one of its tries."""
    status, failed = run(
        ["-n", workers, "--dist", "loadgroup", "--no-loadscope-reorder", "--durations=25", "tests"]
    )
    again = list(failed)
    for attempt in (2, 3):
        if status == 0:
            break
        if status != TESTS_FAILED or not failed:
            return status or TESTS_FAILED
        if attempt == 3:
            time.sleep(PAUSE)
        say(f"try {attempt} of 3, alone:", failed)
        status, failed = run(["-v", "-p", "no:xdist", *failed])
    if again:
        say("needed another try:", [test for test in again if test not in failed])
    if failed:
        say("failed every time:", failed)
    return status


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
