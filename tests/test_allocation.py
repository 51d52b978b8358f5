"""What is freed stays with the process, counted in pages that the kernel has to clear."""

import os
import platform
import subprocess
import sys

import pytest

CODE = """if True:
    import resource, sys, torch
    from geounet.allocation import keep_freed_memory
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


THREADS = """if True:
    import ctypes, sys, threading
    from geounet.allocation import share_freed_memory
    if sys.argv[1] == "shared":
        assert share_freed_memory()
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]

    def work():
        # Above each block that is freed lies one that stays, so that the kernel gets nothing back.
        blocks = [libc.malloc(100_000) for _ in range(500)]
        kept.append(libc.malloc(100))
        for block in blocks:
            ctypes.memset(block, 1, 100_000)
            libc.free(block)

    kept = []
    for _ in range(6):
        # One after the other, but all alive, so that each has its own pool where there are several.
        done, over = threading.Event(), threading.Event()
        threading.Thread(target=lambda: (work(), done.set(), over.wait()), daemon=True).start()
        done.wait()
    print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def peak(how):
    """KiB at the most of a process whose six threads each take and free 48 MiB, one after the other."""
    command = [sys.executable, "-c", THREADS, how]
    # Dask leaves what it sets for its workers.
    given = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    return int(subprocess.run(command, capture_output=True, text=True, check=True, timeout=120, env=given).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="not glibc")
def test_threads_use_what_others_have_freed():
    """Or several hold their 48 MiB each; some of it the kernel gets back."""
    assert peak("apart") - peak("shared") > 40 * 1024
