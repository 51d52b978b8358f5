"""Where the time and the memory of a prediction go besides the network: starting, choosing, compiling, writing.

A scene of 4096 x 4096 px and the default network, class raster and confidence, float32: each run is a fresh process
that notes the time and its resident memory (with the peak since the last note) at the moments that divide its work.
The model was used before, so that its network stands converted beside it; the first prediction with a model, which
converts it by PyTorch, is measured as well.
The figure is of what is neither the network nor its blocks: from the process' start until the network is ready for the
first window, and from the last block to the end. Beside it stands `import torch`, alone in a fresh process. Options
that it does not know go to the command instead of `--precision fp32`.

    python tests/benchmarks/bench_start.py [--quick] [--window-size 1216 ...]
"""

from __future__ import annotations

import gc
import json
import sys
import tempfile
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from common import (
    COMMAND,
    Row,
    arguments,
    draw_model,
    draw_scene,
    interleaved,
    last_line,
    median_of,
    report,
    run_command,
)

from geounet.engine.kept import CONVERTED
from geounet.models.sizes import SIZES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PHASES = ("imports", "open, choose", "network ready", "first block", "blocks", "rasters")
_MIB = 2**20


class Watch:
    """Seconds since the process started, and its memory, at each note; a thread looks for the peak every 10 ms."""

    def __init__(self) -> None:
        self.process, self.notes = psutil.Process(), {}
        self.peak, self.began = 0, self.process.create_time()
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        while True:
            self.peak = max(self.peak, self.process.memory_info().rss)
            time.sleep(0.01)

    def note(self, phase: str) -> None:
        """The end of a phase; the first one counts."""
        if phase not in self.notes:
            now = self.process.memory_info().rss
            seconds = time.time() - self.began
            self.notes[phase] = {"until": seconds, "mib": now / _MIB, "peak": max(now, self.peak) / _MIB}
            self.peak = 0


def noted(call: Callable[..., Any], note: Callable[[], None]) -> Callable[..., Any]:
    """The same call, with a note after it."""

    def wrapped(*positional: Any, **named: Any) -> Any:
        result = call(*positional, **named)
        note()
        return result

    return wrapped


def command_here(notes: str, *words: str) -> None:
    """The command line in this process, with its notes, written to a file when the rasters stand."""
    watch = Watch()
    sys.argv = ["geounet", *words]
    gc.disable()
    from geounet_pipelines import main

    main.OwnProcess.load = noted(main.OwnProcess.load, lambda: prepare(watch, Path(notes)))
    main.main()


def prepare(watch: Watch, notes: Path) -> None:
    """Have the rest noted, now that all is imported."""
    from geounet.engine import inference
    from geounet.tasks import predict as task

    watch.note("imports")

    def ended() -> None:
        watch.note("rasters")
        notes.write_text(json.dumps(watch.notes), encoding="utf-8")

    task._plan = noted(task._plan, lambda: watch.note("open, choose"))
    inference.prepared = noted(inference.prepared, lambda: watch.note("network ready"))
    task._run_blocks = noted(told_of_blocks(task._run_blocks, watch), lambda: watch.note("blocks"))
    task._gather = noted(task._gather, ended)


def told_of_blocks(run: Callable[..., Any], watch: Watch) -> Callable[..., Any]:
    """The same, with a note when the first block is there."""

    def watched(work: Any, store: Any, engine: Any, progress: Callable[[int, int], None]) -> Any:
        def told(done: int, blocks: int) -> None:
            if done:
                watch.note("first block")
            progress(done, blocks)

        return run(work, store, engine, told)

    return watched


def measured(words: Sequence[str], file: Path) -> dict[str, Any]:
    """One run in a fresh process: seconds and MiB by phase, and the figures over all."""
    run = run_command([sys.executable, __file__, "--here", file, *words])
    notes, until = json.loads(file.read_text(encoding="utf-8")), 0.0
    for phase in PHASES:
        notes[phase]["seconds"], until = notes[phase]["until"] - until, notes[phase]["until"]
    overhead = notes["network ready"]["until"] + run.seconds - notes["blocks"]["until"]
    peak = max(note["peak"] for note in notes.values())
    flat = {f"{phase}, {key}": notes[phase][key] for phase in PHASES for key in ("seconds", "peak", "until")}
    return {**flat, "overhead": overhead, "wall": run.seconds, "peak": peak, "said": last_line(run.errors)}


def measured_first(words: Sequence[str], file: Path, model: Path) -> dict[str, Any]:
    """As :func:`measured`, with a model that was never used."""
    CONVERTED.beside(model).unlink(missing_ok=True)
    return measured(words, file)


def command_alone(*words: object) -> dict[str, Any]:
    """A command that reads little, in a fresh process."""
    return {"wall": run_command([*COMMAND, *words]).seconds}


def torch_alone() -> dict[str, Any]:
    """`import torch` in a fresh process."""
    return {"wall": run_command([sys.executable, "-c", "import torch"]).seconds}


def main() -> None:
    """Measure, print, write."""
    parser = arguments(__doc__)
    parser.add_argument("--side", type=int, default=4096, help="of the scene, in pixels")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured")
    given, more = parser.parse_known_args()
    if given.quick:
        given.rounds = 1
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        model = draw_model(folder / "model.safetensors", arch="subpixel-unet", **asdict(SIZES["s"]), sure=True)
        scene = draw_scene(folder / "scene.tif", given.side, given.side, noise=4)
        words = ["predict", scene, "-m", model, "-o", folder / "c.tif", "--confidence", folder / "f.tif", "--overwrite"]
        words = [*map(str, words), *(more or ["--precision", "fp32"])]
        measured(words, folder / "notes")  # The page cache and compiled helpers.
        contenders = {
            "first": lambda: measured_first(words, folder / "notes", model),
            "predict": lambda: measured(words, folder / "notes"),
            "torch": torch_alone,
            "--help": lambda: command_alone("--help"),
            "info": lambda: command_alone("info", scene),
        }
        found = interleaved(contenders, given.rounds)
    runs, alone = found["predict"], median_of(found["torch"], "wall")
    overhead, about = median_of(runs, "overhead"), runs[0]["said"].partition(": ")[2]
    rows = [
        Row("start until ready, and the end, over `import torch`", overhead / alone, "x", "", about),
        Row("start until ready, and the end", overhead, "s", "<= 3", about),
        Row("peak memory", median_of(runs, "peak") / 1024, "GiB", "<= 1.2", "RSS"),
        Row("whole process", median_of(runs, "wall"), "s"),
        Row("with a new model: start until ready, and the end", median_of(found["first"], "overhead"), "s"),
        Row("with a new model: peak memory", median_of(found["first"], "peak") / 1024, "GiB", "", "RSS"),
        Row("with a new model: whole process", median_of(found["first"], "wall"), "s"),
        Row("`import torch` alone", alone, "s"),
    ]
    quick = {"`geounet --help`": ("--help", 0.3), "`geounet info`": ("info", 1.5)}
    for what, (name, most) in quick.items():
        seconds = median_of(found[name], "wall")
        rows += [Row(what, seconds, "s", f"<= {most}"), Row(f"{what} over `import torch`", seconds / alone, "x")]
    begun, done = (median_of(runs, f"{phase}, until") for phase in ("network ready", "first block"))
    rows += [
        Row("first block of predict begun", begun, "s", "<= 4"),
        Row("first block of predict begun over `import torch`", begun / alone, "x"),
        Row("first block of predict done", done, "s"),
    ]
    for phase in PHASES:
        peak = f"peak {median_of(runs, f'{phase}, peak'):.0f} MiB"
        rows.append(Row(phase, median_of(runs, f"{phase}, seconds"), "s", "", peak))
    report("start", f"Start, end and memory, {given.side} x {given.side} px, 3 bands", rows, given, runs)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--here"]:
        command_here(*sys.argv[2:])
    else:
        main()
