"""`geounet status`: how far a batch is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from . import options
from .batches import progress_line, summary

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@click.argument("folder", callback=options.folder_or_bucket, metavar="DIR")
@options.option("--json", "as_json", is_flag=True, help="As JSON, on standard output.")
@options.common
def command(folder: Path | str, as_json: bool, quiet: bool) -> None:
    """Say how far the batch in DIR is: of a running, a dead, or a finished `geounet run`."""
    from geounet.tasks.status import status

    batch = status(folder)
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
