"""What a run of a job has done."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from geounet.errors import OutputError
from geounet.outputs import holder_of

if TYPE_CHECKING:
    from pathlib import Path

RECORD = "monitor.json"
"""The state of a job's last run, in its folder; its claim is the job's lock."""


@dataclass(slots=True)
class Report:
    """What a run of a job has done, or would do."""

    job: str
    """The job's name."""
    state: str = "running"
    """`running`, `finished`, `stopped`; `dead` of one that said running and whose process is no more."""
    started: str = ""
    """ISO 8601, UTC."""
    seconds: float = 0.0
    """From the start to the end."""
    new: list[str] = field(default_factory=list)
    """Ids of the scenes that were brought in; of a dry run, names of those that would be."""
    repeated: list[str] = field(default_factory=list)
    """Names of scenes that came again under another name."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Ids of scenes that are no observation, and why."""
    failures: dict[str, str] = field(default_factory=dict)
    """Names of scenes and sources that could not be used, and why; they are tried again by the next run."""
    unreachable: bool = False
    """Whether no source could be looked at."""
    scenes: int = 0
    """Observations that the state is made of."""
    blocks: int = 0
    """Blocks that were worked on."""
    events: dict[str, int] = field(default_factory=dict)
    """Events by status."""
    hectares: dict[str, float] = field(default_factory=dict)
    """Their hectares by status."""
    alerts: int = 0
    """Alerts that became due in this run."""
    sent: int = 0
    """Alerts that arrived."""
    waiting: int = 0
    """Alerts that are to be sent again."""
    same: bool | None = None
    """Of a replay: whether the state came out as it was."""
    holder: dict[str, Any] = field(default_factory=dict)
    """Host, process and start of the run that is at work; empty where there is none."""


def read_report(folder: Path) -> Report:
    """The last run of a job, by its folder; whether one is at work.

    Raises:
        OutputError: there has been no run, or what it left is damaged.
    """
    try:
        told = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        report = Report(**told)
    except FileNotFoundError as error:
        raise OutputError(f"{folder} is no folder that geounet monitor has worked in: it has no {RECORD}") from error
    except (OSError, ValueError, TypeError) as error:
        raise OutputError(f"{folder / RECORD} is damaged ({error}); the next run writes it anew") from error
    report.holder = holder_of(folder / RECORD)
    if report.state == "running" and not report.holder:
        report.state = "dead"
    return report
