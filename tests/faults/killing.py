"""A command run in forks of one process, killed at a chosen moment of its work with files, and run again.

    python killing.py FOLDER MOMENTS -- COMMAND...

The command names its outputs relative to the folder that it is run in. `MOMENTS` is `every:K`, or `random:SEED:COUNT`.
For each moment, in a copy of `FOLDER`: a fork runs the command and is killed with SIGKILL, before or after the N-th
renaming or removal of a file (every K-th N until the run ends undisturbed), or after a share of the time that an
undisturbed run takes; another fork runs the same command again. What is printed, a line of JSON for each moment: when,
the exit of the rerun, and what differs from an undisturbed run, in names or in bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

HOOKED = ("replace", "rename", "unlink", "rmdir", "mkdir", "remove")
"""Functions of `os` by which files appear and go; pathlib and shutil call them too."""


def hook(moment: int) -> None:
    """From now on the process dies at a moment: even ones before a call, odd ones after it."""
    count = 0

    def hooked(function):
        def call(*args, **given):
            nonlocal count
            if count == moment:
                os.kill(os.getpid(), signal.SIGKILL)
            result = function(*args, **given)
            if count + 1 == moment:
                os.kill(os.getpid(), signal.SIGKILL)
            count += 2
            return result

        return call

    for name in HOOKED:
        setattr(os, name, hooked(getattr(os, name)))


def run(folder: Path, command: list[str], moment: int | None = None, seconds: float | None = None) -> int:
    """Run a command in a fork: its exit code, or minus the signal that ended it."""
    child = os.fork()
    if not child:
        os.chdir(folder)
        log = os.open(f"{folder}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        if moment is not None:
            hook(moment)
        from geounet_pipelines.main import main

        sys.argv = ["geounet", *command]
        try:
            main()
        except SystemExit as done:
            os._exit(done.code or 0)
        os._exit(0)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def contents(folder: Path) -> dict[str, str]:
    """A hash of each file below a folder, by its name; of a folder its name."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in sorted(folder.rglob("*"))
    }


def fresh(place: Path, template: Path) -> Path:
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(template, place)
    return place


def difference(found: dict[str, str], expected: dict[str, str]) -> list[str]:
    return sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))


def main() -> None:
    template, moments, _, *command = sys.argv[1:]
    for module in ("train", "tile", "run", "evaluate", "info", "stack", "change", "monitor"):
        __import__(f"geounet.tasks.{module}")
    place = Path(f"{template}.place")
    start = time.monotonic()
    assert run(fresh(place, Path(template)), command) == 0, Path(f"{place}.log").read_text()
    took, expected = time.monotonic() - start, contents(place)
    kind, *numbers = moments.split(":")
    seed, count = numbers if kind == "random" else (0, 1_000_000)
    draws = random.Random(int(seed))  # noqa: S311 - moments are no secret
    for number in range(int(count)):
        fresh(place, Path(template))
        when = {"moment": number * int(numbers[0])} if kind == "every" else {"seconds": draws.uniform(0, took)}
        killed = run(place, command, **when)
        if killed >= 0 and kind == "every":
            break
        rerun = run(place, command) if killed < 0 else 0
        print(json.dumps({**when, "exit": rerun, "differs": difference(contents(place), expected)}), flush=True)


if __name__ == "__main__":
    main()
