"""Alerts on their way: each is noted before it goes and when it has gone, so that none is lost or told twice.

What is due is put into an outbox. From there it goes to a file, a command and a webhook, and what has arrived is noted
for each of them. A run that dies between sending and noting sends it once more under the same delivery id, by which the
receiver drops the second; a file is looked through for it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import shlex
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geounet.alerts.rules import Told
from geounet.errors import GeounetError, UnreachableError, one_line
from geounet.outputs import atomic
from geounet.raster.remote import public_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from geounet.alerts.rules import Alert
    from geounet.jobs.job import Alerts

_log = logging.getLogger(__name__)
_BUSY = (408, 429, 500, 502, 503, 504)
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 60.0
"""Seconds before something is sent again; the first time, and at most."""
_TIMEOUTS = (10, 60)
_COMMAND_SECONDS = 300
SIGNATURE, DELIVERY = "X-Geounet-Signature-256", "X-Geounet-Delivery"
"""Headers of a webhook: `sha256=` and the HMAC of the body by the secret; the delivery id."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """What came of a run's alerts."""

    sent: int
    """Alerts that arrived everywhere."""
    waiting: int
    """Alerts that are to be sent again by the next run."""
    failures: tuple[str, ...]
    """Why, in a sentence each."""


class Outbox:
    """A folder with what is to be sent, and with what has been."""

    def __init__(self, folder: Path) -> None:
        self._waiting, self._sent = folder / "waiting", folder / "sent.json"
        self.told: dict[str, list[Told]] = _read(self._sent)
        """What has been told or is waiting, by the name of the rule."""

    def add(self, alerts: Iterable[Alert]) -> None:
        """Put alerts into the outbox; from then on they are told for sure."""
        for alert in alerts:
            with atomic(self._waiting / f"{alert.id}.json") as draft:
                draft.write_text(json.dumps({"content": alert.content, "arrived": []}), encoding="utf-8")
            known = [one for one in self.told.get(alert.rule, []) if one.id != alert.event.id]
            self.told[alert.rule] = [*known, alert.event]
        content = {rule: [asdict(one) for one in told] for rule, told in sorted(self.told.items())}
        with atomic(self._sent) as draft:
            draft.write_text(json.dumps(content, indent=1), encoding="utf-8")

    def waiting(self) -> list[Path]:
        """What has not arrived everywhere, in a fixed order."""
        return sorted(self._waiting.glob("*.json"))

    def send(self, channels: dict[str, Callable[[dict[str, Any]], None]]) -> Delivered:
        """Send what is waiting by all channels, and note what has arrived; a channel that fails is left alone then."""
        failures: dict[str, str] = {}
        sent = 0
        for path in self.waiting():
            parcel = json.loads(path.read_text(encoding="utf-8"))
            for name, send in channels.items():
                if name in parcel["arrived"] or name in failures:
                    continue
                try:
                    send(parcel["content"])
                except (GeounetError, OSError, subprocess.SubprocessError) as error:
                    failures[name] = str(error)
                    continue
                parcel["arrived"].append(name)
                with atomic(path) as draft:
                    draft.write_text(json.dumps(parcel), encoding="utf-8")
            if set(channels) <= set(parcel["arrived"]):
                path.unlink()
                sent += 1
        return Delivered(sent, len(self.waiting()), tuple(failures.values()))


def _read(path: Path) -> dict[str, list[Told]]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {rule: [Told(**one) for one in told] for rule, told in found.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError) as error:
        raise GeounetError(f"{path} is damaged; remove it, and all events are told anew") from error


def channels_of(alerts: Alerts, at: Callable[[str], str]) -> dict[str, Callable[[dict[str, Any]], None]]:
    """What alerts are sent by.

    Args:
        alerts: what the job says.
        at: makes a place of the job's file absolute.

    Raises:
        GeounetError: the secret is not in the environment.
    """
    found: dict[str, Callable[[dict[str, Any]], None]] = {}
    if alerts.file:
        found["file"] = lambda content: _append(Path(at(alerts.file)), content)
    if alerts.command:
        words = shlex.split(alerts.command) if isinstance(alerts.command, str) else alerts.command
        found["command"] = lambda content: _call(words, content)
    if alerts.webhook:
        secret = _secret(alerts.secret_env)
        found["webhook"] = lambda content: _post(alerts.webhook, content, secret, alerts.retries)
    return found


def _secret(name: str) -> bytes | None:
    if not name:
        return None
    value = os.environ.get(name)
    if not value:
        raise GeounetError(f"the secret of the webhook is not there: set the environment variable {name}")
    return value.encode()


def _append(path: Path, content: dict[str, Any]) -> None:
    """A line more, unless it is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    with path.open("r+b") as file:
        lines = file.read()
        mark = f'"delivery": "{content["delivery"]}"'.encode()
        whole = lines[: lines.rfind(b"\n") + 1]
        if mark in whole:
            return
        # What a dead run left of a line is written over.
        file.seek(len(whole))
        file.truncate()
        file.write(json.dumps(content).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _call(words: list[str], content: dict[str, Any]) -> None:
    """Raises GeounetError where the command fails."""
    done = subprocess.run(  # noqa: S603 - the user's own command
        words, input=json.dumps(content).encode(), capture_output=True, timeout=_COMMAND_SECONDS, check=False
    )
    if done.returncode:
        said = " ".join(done.stderr.decode(errors="replace").split())[-200:]
        raise GeounetError(f"command {words[0]} ended with {done.returncode}{': ' + said if said else ''}")


def _post(url: str, content: dict[str, Any], secret: bytes | None, retries: int) -> None:
    """Raises UnreachableError where the server does not take it."""
    import requests
    from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

    body = json.dumps(content).encode()
    headers = {"Content-Type": "application/json", DELIVERY: content["delivery"]}
    if secret is not None:
        headers[SIGNATURE] = "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()

    def once() -> None:
        try:
            answer = requests.post(url, data=body, headers=headers, timeout=_TIMEOUTS)
        except requests.RequestException as error:
            raise _BusyError(type(error).__name__) from error
        if answer.status_code in _BUSY:
            raise _BusyError(f"it answers {answer.status_code}")
        if answer.status_code >= 400:  # noqa: PLR2004
            raise UnreachableError(f"webhook {public_name(url)} refuses: it answers {answer.status_code}")

    persistently = Retrying(
        stop=stop_after_attempt(retries + 1),
        wait=wait_random_exponential(_FIRST_WAIT, _LONGEST_WAIT),
        retry=retry_if_exception_type(_BusyError),
        reraise=True,
    )
    try:
        persistently(once)
    except _BusyError as error:
        raise UnreachableError(
            f"webhook {public_name(url)} cannot be reached after {retries + 1} tries: {one_line(error)}"
        ) from error


class _BusyError(Exception):
    """What may be gone another time."""
