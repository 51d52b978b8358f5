"""A run of a monitoring job for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from geounet.jobs.report import Report


def job_lines(report: Report, *, dry_run: bool = False) -> Iterator[str]:
    """What a run did, in some lines."""
    if dry_run:
        yield f"{report.job}: {len(report.new)} new scenes"
        yield from report.new
        return
    who = ", process {process} on {host}, since {since}".format(**report.holder) if report.holder else ""
    yield f"{report.job}: {report.state}{who}; {len(report.new)} new scenes of {report.scenes}, {report.seconds:.1f} s"
    for status in ("provisional", "confirmed", "ended"):
        if status in report.events:
            yield f"{report.events[status]} {status} events, {report.hectares[status]:.2f} ha"
    if report.repeated:
        yield f"{len(report.repeated)} scenes came again, such as {report.repeated[0]}"
    for name, why in report.left_out.items():
        yield f"{name} is no observation: {why}"
    if report.alerts or report.waiting:
        yield f"{report.alerts} alerts, {report.sent} sent, {report.waiting} to be sent again"
    if report.same is not None:
        yield "the state came out as it was" if report.same else "the state came out otherwise than it was"
