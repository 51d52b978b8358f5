"""`geounet monitor` and `geounet status` of a job: what is printed, the exit codes, and two starts at once."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import yaml
from browser import Checker
from click.testing import CliRunner
from geounet_pipelines.main import cli, main
from levels import LEVELS, learned_model, write_levels

from geounet.jobs.job import read_job

VALUES = list(LEVELS)
JOB = """
name = "fields"
out = "state"
[source]
path = "incoming"
[model]
file = "m.safetensors"
[change]
confirm = "1 of 2"
min_area = 0.1
[alerts]
file = "alerts.jsonl"
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return learned_model(tmp_path_factory.mktemp("model") / "m.safetensors")


@pytest.fixture
def job(tmp_path, model):
    """Four dates, the third and fourth with a change."""
    (tmp_path / "m.safetensors").symlink_to(model)
    codes = np.full((40, 50), VALUES[0], np.uint8)
    for number in range(4):
        if number == 2:
            codes[10:25, 10:25] = VALUES[2]
        write_levels(tmp_path / f"incoming/s_2024010{number + 1}.tif", codes, seed=number)
    (tmp_path / "job.toml").write_text(JOB)
    return tmp_path / "job.toml"


def run(*words):
    """Exit code, standard output, standard error."""
    done = CliRunner().invoke(cli, list(map(str, words)), catch_exceptions=False)
    return done.exit_code, done.stdout, done.stderr


def test_the_example_is_a_job_with_all_keys(tmp_path, model):
    code, text, _ = run("monitor", "--example")
    assert code == 0
    (tmp_path / "job.toml").write_text(text)
    (tmp_path / "incoming").mkdir()
    (tmp_path / "model.safetensors").symlink_to(model)
    assert read_job(tmp_path / "job.toml").change.min_area == 0.5
    assert run("monitor", tmp_path / "job.toml", "--check")[0] == 0
    bare = "\n".join(line.removeprefix("# ") if " = " in line.partition("#")[2] or line.startswith("# [[") else line
                     for line in text.splitlines())  # fmt: skip
    told = tomllib.loads(bare)
    assert {"pattern", "mask", "min_valid", "date_pattern"} <= set(told["source"])
    assert told["alerts"]["rules"][0]["within"] == "reserve.gpkg"


def test_a_run_says_what_it_did_and_exits_so(job):
    code, text, _ = run("monitor", job, "--dry-run")
    assert code == 0
    assert "4 new scenes" in text
    assert not (job.parent / "state").exists()
    code, text, _ = run("monitor", job)
    assert code == 0
    assert "4 new scenes of 4" in text
    told = json.loads((job.parent / "state/monitor.json").read_text())
    assert set(told["events"]) == {"confirmed"}
    assert 2.2 < told["hectares"]["confirmed"] < 2.3
    assert f"{told['events']['confirmed']} confirmed events, 2.2" in text
    assert f"{told['alerts']} alerts, {told['events']['confirmed']} sent" in text
    code, text, _ = run("monitor", job, "--json")
    assert json.loads(text)["new"] == []
    code, text, _ = run("monitor", job, "--replay")
    assert (code, "the state came out as it was" in text) == (0, True)
    assert run("monitor", job, "-q")[:2] == (0, "")
    for words in (["monitor", job, "--status"], ["status", job.parent / "state"]):
        code, text, _ = run(*words)
        assert code == 0
        assert "fields: finished" in text
    assert json.loads(run("status", job.parent / "state", "--json")[1])["events"] == told["events"]


def test_alerts_and_failures_show_in_the_exit_code(job):
    assert run("monitor", job, "--exit-code", "-q")[0] == 4
    assert run("monitor", job, "--exit-code", "-q")[0] == 0
    (job.parent / "incoming/bad_20240201.tif").write_bytes(b"nothing")
    code, _, err = run("monitor", job, "-q")
    assert code == 3
    assert "bad_20240201.tif" in err
    job.write_text(JOB.replace('path = "incoming"', 'path = "https://127.0.0.1:9/items.json"'))
    code, _, err = run("monitor", job, "-q")
    assert code == 1
    assert "127.0.0.1" in err


def test_wrong_jobs_are_one_sentence_and_usage(job, capsys):
    job.write_text(JOB.replace("confirm", "confrm"))
    with pytest.raises(SystemExit) as exit_:
        main(["monitor", str(job)])
    assert exit_.value.code == 1
    assert f"{job}:9: unknown key confrm" in capsys.readouterr().err
    with pytest.raises(SystemExit) as exit_:
        main(["monitor"])
    assert exit_.value.code == 2
    assert "--example" in capsys.readouterr().err


def test_a_pattern_for_dates_is_taken(job):
    write_levels(job.parent / "incoming/late_05.01.24.tif", np.full((40, 50), VALUES[0], np.uint8))
    assert run("monitor", job, "-q")[0] == 3
    assert run("monitor", job, "-q", "--date-pattern", "%d.%m.%y")[0] == 0


def test_the_page_is_whole_and_fetches_nothing(job):
    run("monitor", job, "-q")
    checker = Checker()
    checker.feed((job.parent / "state/report.html").read_text())
    assert checker.open == []
    assert all(link.startswith(("data:", "#")) for link in checker.links)
    text = " ".join(checker.texts)
    for words in ("Monitoring: fields", "confirmed", "Timeline", "field & hedge", "2024-01-03"):
        assert words in text


@pytest.mark.server
def test_two_starts_at_once_are_one_run(job):
    """One of them does it, the other says who is at work; or it comes later and finds nothing left to do."""
    words = [Path(sys.executable).with_name("geounet"), "monitor", job]
    both = [subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    told = [(process.wait(timeout=120), *process.communicate()) for process in both]
    codes = sorted(code for code, _, _ in told)
    assert codes in ([0, 1], [0, 0])
    for code, out, err in told:
        assert code == 0 or "is being written by" in err
        assert code == 1 or "scenes of 4" in out
    last = json.loads(run("monitor", job, "--json")[1])
    assert last["new"] == []
    assert len((job.parent / "alerts.jsonl").read_text().splitlines()) == last["events"]["confirmed"]


def blocks(kind):
    """Code blocks of the documentation."""
    text = (Path(__file__).parents[2] / "docs/monitoring.md").read_text()
    return re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL)


def test_the_documented_job_timer_and_cronjob_are_what_they_should_be(job, tmp_path):
    (smallest,) = blocks("toml")
    (job.parent / "small.toml").write_text(smallest.replace("model.safetensors", "m.safetensors"))
    assert run("monitor", job.parent / "small.toml", "--check")[0] == 0
    units = blocks("ini")
    for text in units:
        name = text.splitlines()[0].removeprefix("# ")
        (tmp_path / name).write_text(text.replace("/srv/geounet/bin/geounet", "/bin/true"))
    assert len(units) == 2
    if shutil.which("systemd-analyze"):
        names = [path.name for path in tmp_path.glob("geounet-*")]
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", *names], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
    (manifest,) = blocks("yaml")
    spec = yaml.safe_load(manifest)["spec"]
    container = spec["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]
    assert container["command"][:2] == ["geounet", "monitor"]
    assert spec["concurrencyPolicy"] == "Forbid"
