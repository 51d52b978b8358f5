"""A command's process looks for no garbage while it loads, and is left at once, but with all that must be done."""

import gc
import os
import subprocess
import sys

import pytest
from geounet_pipelines.main import COMMANDS, LIBRARIES
from geounet_pipelines.process import load

SCRIPT = """
import atexit, sys
from geounet_pipelines import main as entry

class Late:
    def __del__(self):
        print("taken apart")

late = Late()
late.itself = late

def command(**given):
    import gc
    given["obj"].load(library)
    # Neither frozen nor part of a cycle.
    entry.late = Late()
    atexit.register(print, "registered")
    print("frozen", gc.get_freeze_count() > 0, "enabled", gc.isenabled())
    print("-" * 100_000)
    finish()

entry.cli.main = command
library = sys.argv[1]
finish = eval(sys.argv[2])
entry.main()
"""


BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


def run(finish, library="decimal"):
    command = [sys.executable, "-c", SCRIPT, library, finish]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=BUFFERED)


@pytest.mark.parametrize("code", [0, 1, 3])
def test_it_ends_with_its_code_and_all_that_was_printed_or_registered_but_is_not_taken_apart(code):
    done = run(f"lambda: sys.exit({code})")
    assert done.returncode == code
    lines = done.stdout.splitlines()
    assert lines == ["frozen True enabled True", "-" * 100_000, "registered"]
    assert done.stderr == ""


def test_a_process_that_fails_ends_as_any_other():
    done = run("lambda: 1 / 0")
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
    assert done.stdout.splitlines()[2:] == ["registered", "taken apart", "taken apart"]


def test_threads_are_waited_for():
    finish = "lambda: (__import__('threading').Timer(0.5, print, ['late']).start(), sys.exit(0))"
    assert run(finish).stdout.splitlines()[2:] == ["late", "registered"]


def test_output_that_nobody_reads_is_no_success():
    command = [sys.executable, "-c", SCRIPT, "decimal", "lambda: sys.exit(0)"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=BUFFERED) as process:
        process.stdout.close()
        process.wait(timeout=60)
    assert process.returncode not in (0, None)


@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_is_looked_for_afterwards_as_before(enabled):
    before, frozen = gc.isenabled(), gc.get_freeze_count()
    (gc.enable if enabled else gc.disable)()
    try:
        with pytest.raises(ModuleNotFoundError):
            load("geounet.no_such_module")
        assert gc.isenabled() == enabled
        load("geounet.grid")
        assert gc.isenabled() == enabled
        assert gc.get_freeze_count() == frozen
    finally:
        (gc.enable if before else gc.disable)()


def test_each_command_has_its_library():
    assert set(LIBRARIES) <= set(COMMANDS)
    for name in {LIBRARIES.get(command, command) for command in COMMANDS} - {None}:
        load(f"geounet.tasks.{name}")
