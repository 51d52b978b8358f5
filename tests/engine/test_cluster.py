"""Tasks on Dask: every item once, a few at a time, failures as they should be; and cores shared by workers."""

import itertools
import operator
import os
import subprocess
import sys
import warnings
from collections import Counter
from functools import partial

import pytest
from distributed import Client, Future, LocalCluster

from geounet.engine import cluster
from geounet.engine.cluster import connect, map_unordered, threads_per_worker
from geounet.errors import GeounetError, SceneError

# By a name that workers in other processes know.
double = partial(operator.mul, 2)


def noted(folder, value):
    """The value, after a line in a file of its name: one a call."""
    with (folder / str(value)).open("a", encoding="utf-8") as file:
        file.write("x")
    return value


def calls(folder):
    """How often each value was called with."""
    return Counter({int(path.name): path.stat().st_size for path in folder.iterdir()})


def fails_with(error, folder, wrong, value):
    noted(folder, value)
    if value == wrong:
        raise error
    return value


def fails_at_first(folder, value):
    noted(folder, value)
    if calls(folder)[value] < 3:
        raise RuntimeError("for a reason we do not know")
    return value


@pytest.fixture(scope="module")
def client():
    with connect() as connected:
        yield connected


def gathered(client, function, items):
    found = []
    map_unordered(client, function, items, found.append)
    return found


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 500])
def test_every_item_has_its_result_once(client, count):
    """Also where items are fewer than are submitted at once, just as many, or many times more."""
    assert sorted(gathered(client, double, range(count))) == [2 * value for value in range(count)]


def test_several_workers_do_all_items_between_them():
    with connect(workers=2) as client:
        assert sorted(gathered(client, double, range(200))) == [2 * value for value in range(200)]
        assert len(client.nthreads()) == 2


def test_tasks_in_flight_stay_few_whatever_the_plan(client):
    """Memory grows with the tasks that the scheduler knows of, so it never knows of many; released a moment later."""
    known, limit = [], cluster._LEAST_AHEAD
    map_unordered(client, double, range(1000), lambda _result: known.append(len(client.futures)))
    assert limit // 2 <= max(known) <= 2 * limit


def test_results_come_before_the_last_item_is_known(client):
    """A plan without an end starts like any other, and ends when who takes the results has enough."""
    found = []

    class EnoughError(Exception):
        """Stands for Ctrl-C."""

    def take(result):
        found.append(result)
        if len(found) == 10:
            raise EnoughError

    with pytest.raises(EnoughError):
        map_unordered(client, double, itertools.count(), take)
    assert len(found) == 10
    # The one that is held by the error's own stack.
    assert len(client.futures) <= 1


def test_the_first_failure_ends_it_and_cancels_the_rest(client, tmp_path):
    """With the sentence that the function raised; what was not submitted yet is never begun."""
    function = partial(fails_with, SceneError("the scene is damaged there"), tmp_path, 3)
    with pytest.raises(SceneError, match="the scene is damaged there"):
        gathered(client, function, range(1000))
    assert len(calls(tmp_path)) < 500
    # The one that is held by the error's own stack.
    assert len(client.futures) <= 1


def test_what_is_wrong_with_the_input_is_not_tried_again(client, tmp_path):
    with pytest.raises(GeounetError):
        gathered(client, partial(fails_with, GeounetError("wrong"), tmp_path, 3), range(5))
    assert calls(tmp_path)[3] == 1


def test_what_fails_for_an_unknown_reason_is_tried_three_times(client, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert sorted(gathered(client, partial(fails_at_first, tmp_path / "a"), range(5))) == list(range(5))
    assert set(calls(tmp_path / "a").values()) == {3}
    with pytest.raises(ZeroDivisionError):
        gathered(client, partial(fails_with, ZeroDivisionError(), tmp_path / "b", 3), range(5))
    assert calls(tmp_path / "b")[3] == 3


def test_a_scheduler_that_goes_away_is_said_and_is_no_fault_of_the_input(tmp_path):
    """Not a GeounetError, after which a prediction would throw away what it has done."""
    file = tmp_path / "scheduler.json"
    python, quiet = [sys.executable, "-m"], {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    both = ["--no-dashboard", "--scheduler-file", str(file)]
    commands = [
        [*python, "distributed.cli.dask_scheduler", "--port", "0", *both],
        [*python, "distributed.cli.dask_worker", "--no-nanny", "--local-directory", str(tmp_path), *both],
    ]
    processes = [subprocess.Popen(command, **quiet) for command in commands]
    try:
        with Client(scheduler_file=str(file), timeout="60s") as client:
            client.wait_for_workers(1, timeout=60)
            found = []

            def take(result):
                found.append(result)
                if len(found) == 100:
                    processes[0].kill()

            with pytest.raises(ConnectionError, match="the Dask scheduler went away; start the same command again"):
                map_unordered(client, double, itertools.count(), take)
        assert all(isinstance(result, int) for result in found)
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_a_task_that_is_cancelled_elsewhere_is_no_result(client):
    """As all are when the connection to a scheduler is given up."""
    found = []

    def take(result):
        found.append(result)
        client.cancel([Future(key, client) for key in client.futures])

    with pytest.raises(ConnectionError, match="start the same command again"):
        map_unordered(client, double, range(200), take)
    assert all(isinstance(result, int) for result in found)


def test_two_local_clusters_at_a_time_say_nothing():
    """Dask's default port is taken by the first; a warning would stand amid the second's progress."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with connect() as first, connect() as second:
            assert gathered(first, double, [1]) == gathered(second, double, [1]) == [2]


def test_no_scheduler_there_is_one_sentence(monkeypatch):
    monkeypatch.setattr(cluster, "_TIMEOUT", "1s")
    sentence = r"no Dask scheduler answers at tcp://127.0.0.1:9 .*give tcp://HOST:PORT"
    with pytest.raises(GeounetError, match=sentence), connect("tcp://127.0.0.1:9"):
        pass


def test_one_worker_has_all_cores_and_two_share_them(client):
    cores = len(os.sched_getaffinity(0))
    assert threads_per_worker(client) == cores
    with connect(workers=2) as pair:
        assert threads_per_worker(pair) == max(1, cores // 2)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="there is but one core")
def test_a_worker_that_is_held_to_one_core_gets_one_thread():
    """Counted where it runs, in a process of its own: the client here may use all cores."""
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        with LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address=":0") as held, Client(held) as client:
            os.sched_setaffinity(0, before)
            assert threads_per_worker(client) == 1
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize(
    ("cores", "expected"),
    [
        ({"a": (0, 1, 2, 3)}, 4),
        ({"a": (0, 1, 2, 3), "b": (0, 1, 2, 3)}, 2),
        ({"a": (0, 1, 2), "b": (3, 4, 5)}, 3),
        ({"a": (0, 1, 2), "b": (0, 1, 2)}, 1),
        ({"a": (0,), "b": (0,), "c": (0,)}, 1),
        ({"a": (0,), "b": (0, 1, 2, 3, 4, 5)}, 1),
    ],
)
def test_workers_of_a_machine_share_its_cores(cores, expected):
    """All of them shared, each its own, and never none."""
    assert cluster._share(cores, list(cores)) == expected


def test_without_workers_the_client_counts_its_own_cores(tmp_path):
    """A scheduler whose workers have not come yet."""
    file = tmp_path / "scheduler.json"
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--port", "0", "--no-dashboard"]
    with subprocess.Popen(
        [*command, "--scheduler-file", str(file)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            with Client(scheduler_file=str(file), timeout="60s") as client:
                assert threads_per_worker(client) == len(os.sched_getaffinity(0))
        finally:
            process.kill()
