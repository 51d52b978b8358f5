"""What is freed stays with the process, counted in pages that the kernel has to clear."""

import os
import platform
import subprocess
import sys

import pytest

CODE = """if True:
    import resource, sys, torch
    from geounet.training.memory import keep_freed_memory
    if sys.argv[1] == "kept":
        assert keep_freed_memory()
    pages = []
    for _ in range(20):
        blocks = [torch.ones(4 << 20) for _ in range(8)]
        del blocks
        pages.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
    print(pages[-1] - pages[3])
"""


def pages(how):
    """Pages that a process which takes and frees 128 MiB is given anew, in sixteen times of twenty."""
    # From such a size on blocks are given back for certain; else that hangs on what happens to lie behind them.
    given = os.environ | {"MALLOC_MMAP_THRESHOLD_": str(2**20)}
    command = [sys.executable, "-c", CODE, how]
    return int(subprocess.run(command, capture_output=True, text=True, check=True, timeout=120, env=given).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="not glibc")
def test_freed_memory_is_used_again():
    """Or 32,768 pages are taken anew each time."""
    assert pages("kept") < 1000
    assert pages("given back") > 15 * 32_768
