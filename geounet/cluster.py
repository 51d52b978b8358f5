"""The Dask client: an embedded cluster on this machine, or one that runs elsewhere. Nothing else differs."""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geounet.errors import GeounetError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from distributed import Client

_TIMEOUT = "15s"
_RETRIES = 2


@contextmanager
def connect(scheduler: str = "local", workers: int = 1) -> Iterator[Client]:
    """A Dask client.

    Args:
        scheduler: `local`, the address of a running scheduler, or a scheduler file.
        workers: of a local cluster; one runs as a thread of this process, more are processes.

    Raises:
        GeounetError: no scheduler answers there.
    """
    from distributed import Client, LocalCluster

    if scheduler != "local":
        with _join(scheduler) as client:
            yield client
        return
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    cluster = LocalCluster(
        n_workers=workers,
        # One computes while the other reads and writes; see inference.py.
        threads_per_worker=2,
        processes=workers > 1,
        dashboard_address=None,
        # Blocks bound the memory; Dask's own limit would pause workers that hold a large network.
        memory_limit=0,
    )
    with cluster, Client(cluster) as client:
        yield client


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
    client: Client, function: Callable[..., Any], items: Sequence[Any], take: Callable[[Any], None]
) -> None:
    """Hand each result of `function(item)` to `take`, as they come; the first failure ends it and cancels the rest.

    Not a generator: one that is left early is finished whenever it is collected, perhaps after its client was closed.

    An item whose worker died, or that failed for a reason we do not know, runs again; what we know to be wrong with the
    input does not.

    Raises:
        GeounetError: the function raised it.
    """
    from distributed import as_completed

    futures = client.map(partial(_attempt, function), items, retries=_RETRIES, pure=False)
    try:
        for _future, result in as_completed(futures, with_results=True):
            if isinstance(result, GeounetError):
                raise result
            take(result)
    finally:
        client.cancel(futures)


def _attempt(function: Callable[..., Any], item: Any) -> Any:
    """The result, or the error as a value: without its cause, which may not survive the journey."""
    try:
        return function(item)
    except GeounetError as error:
        return type(error)(*error.args)


def threads_per_worker(client: Client) -> int:
    """Threads that each worker's network may use: the machine's cores, shared by the workers on it."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    hosts = [worker["host"] for worker in workers]
    most = max((hosts.count(host) for host in hosts), default=1)
    return max(1, (os.cpu_count() or 1) // most)
