"""The Dask client: an embedded cluster on this machine, or one that runs elsewhere. Nothing else differs."""

from __future__ import annotations

import logging
import os
import threading
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geounet.errors import GeounetError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from distributed import Client, Future, LocalCluster

_TIMEOUT = "15s"
_RETRIES = 2
_AHEAD = 8
"""Tasks that wait for each thread of the workers: enough that none runs dry while the client is busy."""
_LEAST_AHEAD = 64
"""Tasks in flight where the workers are few, or not there yet."""


class SchedulerGoneError(ConnectionError):
    """Nothing is wrong with the input, and what is done can be gone on with."""

    def __init__(self) -> None:
        super().__init__("the Dask scheduler went away; start the same command again to go on")


_LEAN = {
    # Samples the stacks of all threads a hundred times a second, while the network wants the interpreter.
    "distributed.worker.profile.enabled": False,
    # Finished blocks leave nothing behind on a worker that could be moved or told of.
    "distributed.scheduler.active-memory-manager.start": False,
    # As allocation.share_freed_memory, for worker processes.
    "distributed.nanny.pre-spawn-environ.MALLOC_ARENA_MAX": 1,
}
"""Dask's settings for a local cluster: what costs time or memory with every task and is of no use here."""


@dataclass(slots=True)
class _Shared:
    """A client that several predictions of this process use at once."""

    client: Client
    closing: ExitStack
    users: int = 0


_shared: dict[tuple[str, int], _Shared] = {}
_sharing = threading.Lock()


@contextmanager
def connect(scheduler: str = "local", workers: int = 1) -> Iterator[Client]:
    """A Dask client; who asks for the same while it is open gets the same, and the last one closes it.

    Args:
        scheduler: `local`, the address of a running scheduler, or a scheduler file.
        workers: of a local cluster; one runs as a thread of this process, more are processes.

    Raises:
        GeounetError: no scheduler answers there.
    """
    key = scheduler, workers
    with _sharing:
        if key not in _shared:
            with ExitStack() as stack:
                client = stack.enter_context(_connect(scheduler, workers))
                _shared[key] = _Shared(client, stack.pop_all())
        shared = _shared[key]
        shared.users += 1
    try:
        yield shared.client
    finally:
        with _sharing:
            shared.users -= 1
            if not shared.users:
                del _shared[key]
                shared.closing.close()


@contextmanager
def _connect(scheduler: str, workers: int) -> Iterator[Client]:
    import dask
    from distributed import Client

    if scheduler != "local":
        with closing(_join(scheduler)) as client:
            yield client
        return
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    # Closed, not left: the last to use it may be another thread than the first, and a client knows its own by context.
    with dask.config.set(_LEAN), _start(workers) as cluster, closing(Client(cluster)) as client:
        yield client


def _start(workers: int) -> LocalCluster:
    from distributed import LocalCluster

    return LocalCluster(
        n_workers=workers,
        # One computes while the other reads and writes; see inference.py.
        threads_per_worker=2,
        processes=workers > 1,
        # Any free port: by default it warns, amid the progress, where another cluster runs on the machine.
        scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
        # Blocks bound the memory; Dask's own limit would pause workers that hold a large network.
        memory_limit=0,
    )


def _join(scheduler: str) -> Client:
    from distributed import Client

    where = {"scheduler_file": scheduler} if Path(scheduler).is_file() else {"address": scheduler}
    try:
        return Client(**where, timeout=_TIMEOUT)
    except (OSError, ValueError) as error:
        raise GeounetError(
            f"no Dask scheduler answers at {scheduler} ({error or 'timed out'}); give tcp://HOST:PORT, a scheduler "
            "file, or local"
        ) from error


def map_unordered(
    client: Client, function: Callable[..., Any], items: Iterable[Any], take: Callable[[Any], None]
) -> None:
    """Hand each result of `function(item)` to `take`, as they come; the first failure ends it and cancels the rest.

    Items are submitted a few ahead of the workers, so work starts at once and the memory that a task costs its
    scheduler (some 15 kB) is that of the tasks in flight, not of the whole plan.

    Not a generator: one that is left early is finished whenever it is collected, perhaps after its client was closed.

    An item whose worker died, or that failed for a reason we do not know, runs again; what we know to be wrong with the
    input does not.

    Raises:
        GeounetError: the function raised it.
        SchedulerGoneError: it did.
    """
    from distributed import as_completed

    call, rest = partial(_attempt, function), iter(items)
    flying: set[Future] = set()
    landed = as_completed(loop=client.loop, with_results=True)

    def top_up() -> None:
        # By halves: a submission has a price of its own.
        limit = max(_LEAST_AHEAD, _AHEAD * _threads(client))
        if len(flying) <= limit // 2 and (batch := list(islice(rest, limit - len(flying)))):
            futures = client.map(call, batch, retries=_RETRIES, pure=False)
            flying.update(futures)
            landed.update(futures)

    try:
        top_up()
        for future, result in landed:
            flying.discard(future)
            if isinstance(result, GeounetError):
                raise result
            if future.cancelled():
                raise SchedulerGoneError
            take(result)
            top_up()
    finally:
        client.cancel(list(flying))


def _threads(client: Client) -> int:
    """Of all workers that are there now."""
    try:
        return sum(client.nthreads().values())
    except OSError as error:
        raise SchedulerGoneError from error


def _attempt(function: Callable[..., Any], item: Any) -> Any:
    """The result, or the error as a value: without its cause, which may not survive the journey."""
    try:
        return function(item)
    except GeounetError as error:
        return type(error)(*error.args)


def threads_per_worker(client: Client) -> int:
    """Threads that each worker's network may use: the cores of its machine, shared by the workers on it.

    The cores are those that a worker may run on (affinity, container limits), counted where it runs; a client may sit
    on another machine. Where workers differ, the least of them counts; where none has come yet, this process.
    """
    cores = client.run(usable_cores, on_error="ignore") or {"": usable_cores()}
    workers = client.scheduler_info(n_workers=-1)["workers"]
    hosts = {address: workers.get(address, {}).get("host", address) for address in cores}
    return min(_share(cores, [other for other in cores if hosts[other] == hosts[address]]) for address in cores)


def usable_cores() -> tuple[int, ...]:
    """Numbers of the cores that this process may use."""
    from dask.system import cpu_count

    # Not everywhere can a process be held to some cores.
    numbers = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    return tuple(numbers)[: cpu_count()]


def _share(cores: dict[str, tuple[int, ...]], neighbours: list[str]) -> int:
    """Threads for each of the workers on one machine: of all their cores its part, and never more than its own."""
    together = set().union(*(cores[address] for address in neighbours))
    return max(1, min(len(together) // len(neighbours), *(len(cores[address]) for address in neighbours)))
