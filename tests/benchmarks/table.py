"""The Markdown table of the README from what the benchmarks wrote: ratios first, the machine named.

python tests/benchmarks/table.py [benchmark_results]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ORDER = (
    "predict", "memory", "workers", "scheduling", "windows", "vectorize", "clean", "training", "loading", "recipes",
)  # fmt: skip


def read_results(folder: Path) -> list[dict[str, Any]]:
    """The results of the scripts that were run, in the order of the table."""
    files = [folder / f"{name}.json" for name in ORDER]
    return [json.loads(file.read_text(encoding="utf-8")) for file in files if file.exists()]


def table(results: list[dict[str, Any]]) -> str:
    """Markdown: all rows with a target and all ratios; ratios first, then figures, the machine below.

    Raises:
        ValueError: results of several machines, or of versions that differ, which do not belong in one table.
    """
    machines = {json.dumps(result["machine"], sort_keys=True) for result in results}
    if len(machines) != 1:
        raise ValueError(f"results of {len(machines)} machines or sets of versions; run make bench on one")
    rows = [row for result in results for row in result["rows"] if row["target"] or row["unit"] == "x"]
    rows.sort(key=lambda row: row["unit"] != "x")
    lines = ["| measured | figure | target | |", "|---|---|---|---|", *map(_line, rows)]
    quick = "" if not any(result["quick"] for result in results) else " A small run, which says little."
    return "\n".join([*lines, "", _named(results[0]["machine"]) + quick])


def _line(row: dict[str, Any]) -> str:
    unit = "" if row["unit"] == "x" else f" {row['unit']}"
    cells = (row["what"], f"{row['value']:.3g}{unit}", row["target"].replace(">=", "≥").replace("<=", "≤"), row["note"])
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _named(machine: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {machine[name]}" for name in ("torch", "openvino", "gdal") if machine[name])
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}; "
        f"geounet {machine['geounet']}, {versions}."
    )


def main() -> None:
    """Print the table of a folder."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("benchmark_results")
    results = read_results(folder)
    if not results:
        sys.exit(f"{folder} holds no results of make bench")
    print(table(results))


if __name__ == "__main__":
    main()
