"""`geounet monitor`: a scheduled job."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from . import options
from .batches import said_once, shown
from .jobs import job_lines


@click.command(short_help="Do what a monitoring job says, once.")
@click.argument("job", required=False, type=click.Path(path_type=Path), metavar="JOB.toml")
@options.option("--example", is_flag=True, help="Print a job file with all its keys, and end.")
@options.option("--check", is_flag=True, help="Only look whether the job can be done.")
@options.option("--dry-run", is_flag=True, help="Only say which scenes are new.")
@options.option("--status", is_flag=True, help="Only say how the last run went, or that one is at work.")
@options.option(
    "--replay", is_flag=True, help="Work the state out anew from all products, and say whether it is as it was."
)
@options.option("--json", "as_json", is_flag=True, help="The outcome as JSON, on standard output.")
@options.option(
    "--date-pattern", default="", metavar="PATTERN",
    help="How the date is written in scenes' names, such as %Y%m%d, in place of what the job says.",
)  # fmt: skip
@options.option("--exit-code", is_flag=True, help="Exit with 4 where there were alerts.")
@options.common
def command(job, example, check, dry_run, status, replay, as_json, date_pattern, exit_code, quiet):
    """Find scenes that JOB.toml has not seen, predict them, bring them into its state, write what is new, and tell.

    Something else starts it: cron, systemd, or a workflow engine; see docs/monitoring.md.
    """
    if example:
        from geounet.jobs.example import EXAMPLE

        click.echo(EXAMPLE, nl=False)
        return
    if job is None:
        raise click.UsageError("name a job file; --example prints one")
    from geounet.tasks.monitor import monitor, report_of

    from .progress import bar

    if status:
        _print(report_of(job), as_json=as_json, quiet=False)
        return
    with said_once(), shown(quiet or dry_run or check) as show, bar("state", quiet or dry_run or check) as progress:
        report = monitor(
            job, date_pattern=date_pattern, check=check, dry_run=dry_run, replay=replay, show=show, progress=progress
        )
    if check:
        click.echo(f"{job} can be done", err=True)
        return
    _print(report, as_json=as_json, quiet=quiet, dry_run=dry_run)
    if report.unreachable:
        sys.exit(1)
    if exit_code and report.alerts:
        sys.exit(4)
    if report.failures:
        sys.exit(3)


def _print(report, *, as_json, quiet, dry_run=False):
    if as_json:
        click.echo(json.dumps(asdict(report), indent=1))
    elif not quiet:
        for line in job_lines(report, dry_run=dry_run):
            click.echo(line)
    for name, why in report.failures.items():
        click.echo(f"geounet: {name}: {why}", err=True)
