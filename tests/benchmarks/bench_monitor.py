"""One new scene for a monitoring job that has seen three, and for one that has seen three hundred.

`geounet monitor`, in a fresh process, with a scene of 1024 x 1024 px that is the newest; the earlier ones were brought
in at once before. Beside it the same with a scene that comes late, in the middle of the others: what depends on it is
worked out anew.

    python tests/benchmarks/bench_monitor.py [--scenes 300] [--side 1024] [--quick]
"""

from __future__ import annotations

import sys
import tempfile
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from common import COMMAND, Row, arguments, report, run_command

sys.path.insert(0, str(Path(__file__).parents[1]))
from levels import LEVELS, learned_model, write_levels

FEW = 3
JOB = 'name = "bench"\nout = "state"\n[source]\npath = "incoming"\n[model]\nfile = "m.safetensors"\n'


def scene(folder: Path, number: int, ground: Any, where: Path) -> Path:
    """The ground on a day, with a field that changes slowly and a cloud that wanders."""
    codes = ground.copy()
    codes[100:200, 100 : 100 + number] = 30
    left = number * 97 % ground.shape[1]
    codes[:, left : left + 150] = 255
    name = f"s_{date(2020, 1, 1) + timedelta(days=5 * number):%Y%m%d}.tif"
    return write_levels(folder / where / name, codes, seed=number)


def job(folder: Path, model: Path, ground: Any, count: int) -> Path:
    """A job that has seen scenes 1 to `count`, but for the one in the middle, which waits."""
    folder.mkdir()
    (folder / "m.safetensors").symlink_to(model)
    (folder / "job.toml").write_text(JOB)
    for number in range(1, count + 2):
        late = number == count // 2 + 1
        scene(folder, number, ground, Path("waiting" if late or number == count + 1 else "incoming"))
    run(folder)
    return folder


def run(folder: Path) -> dict[str, Any]:
    """Seconds and peak memory of the command."""
    found = run_command([*COMMAND, "monitor", folder / "job.toml", "-q"], interval=0.05)
    return {"seconds": found.seconds, "gib": found.pss_mib / 1024}


def arrive(folder: Path, which: int) -> dict[str, Any]:
    """Bring in the late scene (0) or the newest (-1) of those that wait."""
    path = sorted((folder / "waiting").iterdir())[which]
    path.rename(folder / "incoming" / path.name)
    return run(folder)


def main() -> None:
    """Measure, print, write."""
    parser = arguments(__doc__)
    parser.add_argument("--scenes", type=int, default=300)
    parser.add_argument("--side", type=int, default=1024)
    given = parser.parse_args()
    many = 12 if given.quick else given.scenes
    side = 256 if given.quick else given.side
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        model = learned_model(folder / "m.safetensors")
        coarse = np.random.default_rng(0).choice(list(LEVELS), (side // 32, side // 32))
        ground = coarse.repeat(32, 0).repeat(32, 1).astype(np.uint8)
        jobs = {count: job(folder / str(count), model, ground, count) for count in (FEW, many)}
        found = {f"newest of {count}": arrive(place, -1) for count, place in jobs.items()}
        found |= {f"late of {count}": arrive(place, 0) for count, place in jobs.items()}
        found |= {f"nothing new of {count}": run(place) for count, place in jobs.items()}
    seconds = {what: one["seconds"] for what, one in found.items()}
    few, more = seconds[f"newest of {FEW}"], seconds[f"newest of {many}"]
    rows = [
        Row(f"newest scene, {many} known over {FEW}", more / few, "x", "~ 1", f"{few:.2f} s and {more:.2f} s"),
        Row(f"late scene among {many}", seconds[f"late of {many}"], "s"),
        Row(f"nothing new, {many} known", seconds[f"nothing new of {many}"], "s"),
        Row("peak memory", found[f"newest of {many}"]["gib"], "GiB"),
    ]
    report("monitor", f"{side} x {side}, {FEW} and {many} scenes", rows, given, {k: [v] for k, v in found.items()})


if __name__ == "__main__":
    main()
