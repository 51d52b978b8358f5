"""The command line starts quickly, lists its commands, and turns what went wrong into one line and an exit code."""

import json
import subprocess
import sys

import click
import numpy as np
import pytest
import rasterio
from geounet_pipelines import main as main_module
from geounet_pipelines.main import COMMANDS, cli, main

HEAVY = ("torch", "torchgeo", "rasterio", "geopandas", "numpy", "dask", "distributed", "kornia", "xarray", "matplotlib")
LIST_HEAVY = f"""
import json, sys
from geounet_pipelines.main import main
for args in json.loads(sys.argv[1]):
    try:
        main(args)
    except SystemExit as error:
        assert not error.code, args
print("HEAVY", [name for name in {HEAVY} if name in sys.modules])
"""


def python(*args):
    return subprocess.run([sys.executable, *args], capture_output=True, text=True, check=False)


def geounet(*args):
    return python("-c", "from geounet_pipelines.main import main; main()", *args)


def test_help_lists_all_commands_and_imports_nothing_heavy():
    done = python("-c", LIST_HEAVY, json.dumps([["--help"]]))
    assert done.returncode == 0, done.stderr
    for name, text in COMMANDS.items():
        assert name in done.stdout
        assert text.split(",")[0] in done.stdout
    assert "HEAVY []" in done.stdout


def test_the_help_of_every_command_imports_nothing_heavy():
    done = python("-c", LIST_HEAVY, json.dumps([[name, "--help"] for name in COMMANDS]))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Usage: geounet ") == len(COMMANDS)
    assert "HEAVY []" in done.stdout


def commands():
    return {name: cli.get_command(click.Context(cli), name) for name in COMMANDS}


def test_every_option_of_several_words_is_spelt_with_dashes_or_underscores():
    for name, command in commands().items():
        for option in command.params:
            # A flag with an opposite has one spelling of each.
            if not isinstance(option, click.Option) or option.secondary_opts:
                continue
            for spelling in option.opts:
                if spelling.startswith("--"):
                    assert "--" + spelling[2:].replace("-", "_") in option.opts, name
                    assert "--" + spelling[2:].replace("_", "-") in option.opts, name


def test_every_option_has_a_help_text():
    silent = [
        (name, option.name)
        for name, command in commands().items()
        for option in command.params
        if isinstance(option, click.Option) and not option.help
    ]
    assert silent == []


def stopped(args):
    with pytest.raises(SystemExit) as caught:
        main(args)
    return caught.value.code


@pytest.mark.parametrize("spelling", ["--tile-size", "--tile_size"])
def test_the_tile_size_may_be_given_in_both_spellings(tmp_path, write_scene, spelling):
    scene = write_scene(tmp_path / "scene.tif", np.ones((16, 24), np.uint8))
    assert not stopped(["tile", str(scene), "--out", str(tmp_path / "chips"), spelling, "8", "--quiet"])
    chips = sorted((tmp_path / "chips" / "images").glob("*.tif"))
    assert len(chips) == 6
    with rasterio.open(chips[0]) as chip:
        assert chip.shape == (8, 8)


@pytest.mark.parametrize(
    "args", [["predikt"], ["info"], ["info", "a.tif", "--colour"], ["tile", "a.tif", "-o", "b", "--tile-size", "0"]]
)
def test_wrong_usage_exits_with_2_and_says_how_it_is_used(capsys, args):
    assert stopped(args) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "Usage: geounet" in shown.err


def test_a_failure_is_one_line_on_standard_error_and_exit_code_1(capsys, tmp_path):
    assert stopped(["info", str(tmp_path / "nowhere.tif")]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == f"geounet: {tmp_path / 'nowhere.tif'} does not exist\n"


def test_a_failure_shows_its_traceback_where_it_is_asked_for(tmp_path):
    done = geounet("info", str(tmp_path / "nowhere.tif"), "--verbose")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert done.stderr.endswith(f"geounet: {tmp_path / 'nowhere.tif'} does not exist\n")


def test_an_error_of_our_own_making_is_not_taken_for_the_users(monkeypatch):
    def broken(**_given):
        raise ZeroDivisionError

    monkeypatch.setattr(main_module.cli, "main", broken)
    with pytest.raises(ZeroDivisionError):
        main(["info"])


def test_the_version_is_shown(capsys):
    assert stopped(["--version"]) == 0
    assert capsys.readouterr().out.startswith("geounet, version ")
