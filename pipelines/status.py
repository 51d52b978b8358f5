"""`geounet status`: how far a batch is, or how a job's last run went."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from . import options
from .batches import progress_line, summary
from .jobs import job_lines

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@click.argument("folder", callback=options.folder_or_bucket, metavar="DIR")
@options.option("--json", "as_json", is_flag=True, help="As JSON, on standard output.")
@options.common
def command(folder: Path | str, as_json: bool, quiet: bool) -> None:
    """Say how far the batch in DIR is, of a running, dead or finished `geounet run`; or how a job's last run went."""
    from geounet.tasks.status import Report, status

    batch = status(folder)
    if isinstance(batch, Report):
        click.echo(json.dumps(asdict(batch), indent=1) if as_json else "\n".join(job_lines(batch)))
        return
    if as_json:
        click.echo(json.dumps(batch.to_json(), indent=1))
        return
    if not quiet:
        for line in summary(batch):
            click.echo(line)
    who = ", process {process} on {host}, since {since}".format(**batch.holder) if batch.holder else ""
    click.echo(f"{batch.state}{who}: {progress_line(batch)}")
    if batch.state in ("dead", "stopped"):
        click.echo("start the same command again to go on")
