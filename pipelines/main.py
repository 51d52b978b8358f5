"""`geounet`: the group of all commands, each imported only when it is asked for."""

from __future__ import annotations

import copy
import difflib
import functools
import importlib
import logging
import sys
import warnings
from typing import Any, NoReturn

import click

from geounet.errors import GeounetError

from .process import OwnProcess, load

COMMANDS = {
    "info": "Describe a scene, and say whether a model fits it.",
    "stack": "Join bands and dates of one place to one scene.",
    "tile": "Cut georeferenced training chips.",
    "train": "Train a model on images and labels.",
    "distill": "Teach a fast model what slow ones say.",
    "predict": "Turn scenes into class rasters.",
    "clean": "Smooth and sieve a class raster.",
    "vectorize": "Turn a class raster into polygons.",
    "rasterize": "Turn polygons into a class raster.",
    "evaluate": "Compare a prediction with a reference.",
    "run": "Predict, vectorise and picture each scene.",
    "status": "Say how far a batch or a job is.",
    "mosaic": "Join products to one map.",
    "change": "Say what changed between two maps.",
    "monitor": "Do what a monitoring job says, once.",
    "export": "Hand maps and polygons on.",
    "report": "Write a page to look at.",
    "models": "Show, check, quantize, import and export models.",
    "demo": "Run the whole chain on the sample tiles.",
    "completion": "Complete commands in a shell.",
}

BEGIN = """
Where to begin:

\b
  geounet demo                            a sample scene, from pixels to polygons
  geounet info ANYTHING                   what it is, and what can be done with it
  geounet train IMAGES --labels LABELS -o model.safetensors
  geounet run SCENE -m model.safetensors -o products/
  geounet report products/ -o page.html
"""

LIBRARIES = {"completion": None, "demo": "product", "models": None}
"""The module of geounet.tasks that a command is for, where it has another name."""


class LazyGroup(click.Group):
    """A group whose commands live in modules of their names, so that `--help` imports none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - Click's signature
        """The commands in the order in which they are used."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import the command's module and return its `command`."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f".{cmd_name}", __package__).command
        command.name = cmd_name
        library = LIBRARIES.get(cmd_name, cmd_name)
        return _loading(command, f"geounet.tasks.{library}") if library else command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As in every group; a mistyped command is answered with the nearest one."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            near = difflib.get_close_matches(name.lower(), COMMANDS, n=1, cutoff=0.5)
            ctx.fail(f"there is no command {name!r}" + (f"; did you mean {near[0]}?" if near else "; see --help"))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _loading(command: click.Command, library: str) -> click.Command:
    """The command such that it loads a library before it does anything."""
    callback = command.callback
    if callback is None:
        return command

    @functools.wraps(callback)
    def loaded(*args: Any, **given: Any) -> Any:
        root = click.get_current_context().find_root().obj
        (root.load if isinstance(root, OwnProcess) else load)(library)
        return callback(*args, **given)

    twin = copy.copy(command)
    twin.callback = loaded
    return twin


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]}, epilog=BEGIN)
@click.version_option(package_name="geounet")
def cli() -> None:
    """Satellite scenes to class rasters and polygons: the same whatever the tile size."""


def main(args: list[str] | None = None) -> None:
    """Run a command.

    Exit codes: 0 done, 1 the work failed, 2 wrong usage, 3 some scenes of a batch failed, 4 there were alerts.
    """
    _own_words_only()
    if args is not None:
        _run(args)
    process = OwnProcess()
    try:
        _run(sys.argv[1:], process)
    except SystemExit as done:
        process.code = done.code if isinstance(done.code, int) else None
        raise


def _own_words_only() -> None:
    """Our own records reach standard error; those of libraries, and Python's warnings, only where --verbose asks."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    for handler in logging.getLogger().handlers:
        handler.addFilter(logging.Filter("geounet"))
    if not sys.warnoptions:
        warnings.simplefilter("ignore")


def _run(args: list[str], process: OwnProcess | None = None) -> NoReturn:
    """Raises SystemExit."""
    try:
        cli.main(args=args, prog_name="geounet", standalone_mode=True, obj=process)
    except GeounetError as error:
        if logging.getLogger("geounet").isEnabledFor(logging.DEBUG):
            logging.getLogger("geounet").exception("what led to it:")
        click.echo(f"geounet: {error}", err=True)
        sys.exit(1)
    except ConnectionError as error:
        # Not wrong work: the scheduler went away.
        click.echo(f"geounet: {error}", err=True)
        sys.exit(1)
