"""What a run of a job has done."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


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
