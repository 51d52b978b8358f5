"""Peak memory of the whole process tree on scenes of 100 Mpx and 1 Gpx, by the command line.

What is real: every pixel is drawn, deflated, read, normalised, put through a network, written to the tile store and
gathered into two COGs with overviews; blocks, windows and the number of tasks are those of any run. What is not: on
the two scenes that are compared the network is a UNet of depth 2 and width 4, so that 1 Gpx takes minutes; its own
memory is small, so growth with the scene would show all the more. The window is given, for the one that is chosen
depends by some percent on how a scene can be cut into equal parts. The memory of a network of common size (smp
UNet/resnet18) is measured at 100 Mpx.

    python tests/benchmarks/bench_memory.py [--quick]
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import COMMAND, Row, arguments, draw_model, draw_scene, last_line, report, run_command

if TYPE_CHECKING:
    from collections.abc import Sequence


def peak_of(scene: Path, model: Path, folder: Path, more: Sequence[str]) -> dict[str, Any]:
    """GiB at the most while a scene is predicted, and what the command said."""
    words = ["predict", scene, "-m", model, "-o", folder / "c.tif", "--confidence", folder / "f.tif", "--overwrite"]
    done = run_command([*COMMAND, *words, *more], interval=0.1)
    peak, kind = (done.rss_mib, "RSS") if done.pss_mib is None else (done.pss_mib, "PSS")
    said = last_line(done.errors).partition(": ")[2]
    return {"gib": (peak or 0.0) / 1024, "kind": kind, "rss_mib": done.rss_mib, "seconds": done.seconds, "said": said}


def main() -> None:
    """Measure, print, write."""
    parser = arguments(__doc__)
    parser.add_argument("--small", type=int, default=10_000, help="side of the small scene in pixels")
    parser.add_argument("--large", type=int, default=31_744, help="side of the large scene in pixels")
    parser.add_argument("--window-size", type=int, default=2816, help="the same for all, in pixels")
    parser.add_argument("--workers", type=int, default=1, help="worker processes; one works within the command's own")
    given = parser.parse_args()
    if given.quick:
        given.small, given.large, given.window_size = 2048, 4096, 1024
    more = ["--workers", str(given.workers), "--window-size", str(given.window_size)]
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        tiny = draw_model(folder / "tiny.safetensors")
        common = draw_model(folder / "resnet18.safetensors", encoder="resnet18", sure=True)
        scene = draw_scene(folder / "small.tif", given.small, given.small, noise=4)
        small, network = (peak_of(scene, model, folder, more) for model in (tiny, common))
        scene.unlink()
        scene = draw_scene(folder / "large.tif", given.large, given.large, noise=4)
        large = peak_of(scene, tiny, folder, more)
    pixels = {"small": given.small**2 / 1e6, "large": given.large**2 / 1e6}
    rows = [
        Row(
            f"peak memory at {pixels['large']:.0f} Mpx over that at {pixels['small']:.0f} Mpx",
            large["gib"] / small["gib"], "x", "<= 1.05", f"{large['kind']} of the process tree, small UNet",
        ),
        Row(f"peak memory at {pixels['small']:.0f} Mpx, small UNet", small["gib"], "GiB", "", small["said"]),
        Row(f"peak memory at {pixels['large']:.0f} Mpx, small UNet", large["gib"], "GiB", "", large["said"]),
        Row(
            f"peak memory at {pixels['small']:.0f} Mpx, smp UNet/resnet18", network["gib"], "GiB", "<= 2.5",
            network["said"],
        ),
    ]  # fmt: skip
    details = {"small": small, "large": large, "resnet18": network}
    report("memory", f"Peak memory, {given.workers} worker(s), 3 bands uint8, auto", rows, given, details)


if __name__ == "__main__":
    main()
