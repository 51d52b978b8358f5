"""A PostgreSQL with PostGIS of its own, from Debian's packages, that asks for a password."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)
PASSWORD = "not-to-be-seen"  # noqa: S105
EXTENSION = "/usr/share/postgresql/*/extension/postgis.control"


def missing():
    """Why there can be no server here; empty where there can."""
    if PROGRAMS is None:
        return "PostgreSQL is not installed"
    return "" if list(Path("/").glob(EXTENSION[1:])) else "PostGIS is not installed"


def _as_postgres(command, folder):
    """PostgreSQL does not run as root."""
    prefix = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    return subprocess.run([*prefix, *map(str, command)], check=True, capture_output=True, text=True, cwd=folder)


@contextmanager
def postgis():
    """The URL of a database, without the password that it asks for."""
    folder = Path(tempfile.mkdtemp(prefix="geounet-postgis-", dir="/tmp"))
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
    data, words = folder / "data", folder / "password"
    words.write_text(PASSWORD)
    words.chmod(0o644)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    try:
        _as_postgres(
            [PROGRAMS / "initdb", "-D", data, "-U", "geounet", "-A", "scram-sha-256", f"--pwfile={words}", "-N"], folder
        )
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
        _as_postgres([PROGRAMS / "pg_ctl", "-D", data, "-w", "-l", folder / "log", "-o", options, "start"], folder)
        url = f"postgresql://geounet@127.0.0.1:{port}/postgres"
        import psycopg

        with psycopg.connect(url, password=PASSWORD, autocommit=True) as connection:
            connection.execute("CREATE EXTENSION postgis")
        yield url
    finally:
        if (data / "postmaster.pid").exists():
            _as_postgres([PROGRAMS / "pg_ctl", "-D", data, "-m", "immediate", "stop"], folder)
        shutil.rmtree(folder, ignore_errors=True)
