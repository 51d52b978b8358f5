"""`geounet completion`: what a shell needs to complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from . import options

_HOW = {
    "bash": "echo 'eval \"$(geounet completion bash)\"' >> ~/.bashrc",
    "zsh": "echo 'eval \"$(geounet completion zsh)\"' >> ~/.zshrc",
    "fish": "geounet completion fish > ~/.config/fish/completions/geounet.fish",
}


@click.command(epilog="Once: " + "; ".join(_HOW.values()))
@click.argument("shell", type=click.Choice([*_HOW]))
@options.common
def command(shell, quiet):
    """Print a script that completes commands, options and files in SHELL, to be evaluated when it starts."""
    from .main import cli

    kind = get_completion_class(shell)
    script = kind(cli, {}, "geounet", "_GEOUNET_COMPLETE").source()
    click.echo(script)
    if not quiet:
        click.echo(f"to have it in each new shell: {_HOW[shell]}", err=True)
