"""A monitoring job: what its file says, checked as a whole before anything runs."""

from __future__ import annotations

import re
import tomllib
from dataclasses import MISSING, dataclass, field, fields
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from geounet.errors import GeounetError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


class JobError(GeounetError):
    """A job file that cannot be used."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where scenes come from: names of any source, or a STAC API."""

    path: str | list[str] = ""
    pattern: str = ""
    stac_api: str = ""
    collection: str | list[str] = ""
    bbox: list[float] = field(default_factory=list)
    datetime: str = ""
    max_cloud: float | None = None
    limit: int | None = None
    mask: str | list[str] = ""
    mask_dilate: int = 0
    min_valid: float = 0.0
    date_pattern: str = ""
    bands: list[int | str] = field(default_factory=list)
    radiometry: str = "auto"


@dataclass(frozen=True, slots=True)
class Model:
    """What scenes are predicted by."""

    file: str
    precision: str = "fp32"
    device: str = "auto"
    workers: int = 1
    scheduler: str = "local"


@dataclass(frozen=True, slots=True)
class Grid:
    """The lattice of the state."""

    crs: str = ""
    resolution: float | None = None


@dataclass(frozen=True, slots=True)
class Watched:
    """What counts as a change, and when it is believed."""

    min_area: float = 0.0
    min_confidence: float = 0.0
    confirm: str = "2 of 3 within 180 days"
    baseline: int = 1
    before: str | list[str] = ""
    after: str | list[str] = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """When an alert is due."""

    name: str = "confirmed"
    status: str = "confirmed"
    min_area: float = 0.0
    before: str | list[str] = ""
    after: str | list[str] = ""
    within: str = ""
    min_count: int = 1
    min_total: float = 0.0


@dataclass(frozen=True, slots=True)
class Alerts:
    """Whom they go to."""

    file: str = ""
    command: str | list[str] = ""
    webhook: str = ""
    secret_env: str = ""
    retries: int = 5
    rules: list[Rule] = field(default_factory=list)

    @property
    def wanted(self) -> bool:
        """Whether they go anywhere."""
        return bool(self.file or self.command or self.webhook)


@dataclass(frozen=True, slots=True)
class Job:
    """All of it; places are absolute."""

    path: Path
    """The job file."""
    name: str
    out: Path
    source: Source
    model: Model
    grid: Grid = Grid()
    change: Watched = Watched()
    alerts: Alerts = Alerts()
    aoi: str = ""

    def at(self, place: str) -> str:
        """A place that the file names, relative to it; URLs and patterns of standard tools stay as they are."""
        lead = "@" if place.startswith("@") else ""
        bare = place.removeprefix("@")
        if "://" in bare or bare.startswith("/vsi") or bare == "-":
            return place
        return lead + str(self.path.parent / bare)

    def mask_at(self, spec: str) -> str:
        """What hides pixels; a raster that lies beside the job file is named from there, presets and bands stay."""
        file, colon, rest = spec.partition(":")
        beside = self.path.parent / file
        return f"{beside}{colon}{rest}" if beside.is_file() else spec


_SECTIONS = {"source": Source, "model": Model, "grid": Grid, "change": Watched, "alerts": Alerts}
_TOP = {"name": str, "out": str, "aoi": str}
_KEYS = {"from": "before", "to": "after"}
"""Words of the file that are none for Python."""
_CALLED = {
    str: "text",
    int: "a whole number",
    float: "a number",
    list: "a list",
    bool: "true or false",
    dict: "a table",
}


def read_job(path: Path) -> Job:
    """Read a job file, and say all that is wrong with it.

    Raises:
        JobError: it cannot be read; or unknown keys, wrong types, impossible values, each with its line and a remedy.
    """
    try:
        text = path.read_text(encoding="utf-8")
        told = tomllib.loads(text)
    except OSError as error:
        raise JobError(
            f"{path} cannot be read: {error.strerror or error}; geounet monitor --example prints one"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise JobError(f"{path} is no TOML: {error}") from error
    faults = list(_faults(told, Lines(text)))
    if faults:
        raise JobError("\n".join(f"{path}:{line}: {what}" for line, what in faults))
    return _made(path.absolute(), told)


class Lines:
    """In which lines of a file keys stand."""

    def __init__(self, text: str) -> None:
        self._lines = text.splitlines()

    def of(self, section: str, key: str = "", number: int = 0) -> int:
        """The line of a key in a section (`alerts.rules` the `number`th time), or of the section."""
        here, seen = "", -1
        for line, words in enumerate(self._lines, 1):
            header = re.match(r"\s*\[+\s*([\w.]+)\s*\]+", words)
            if header:
                here = header[1]
                seen += here == section
                if here == section and seen == number and not key:
                    return line
            inside = here == section and (number in (0, seen) or section == "")
            if key and inside and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=", words):
                return line
        return self.of(section) if key and section else 1


def _faults(told: Mapping[str, Any], lines: Lines) -> Iterator[tuple[int, str]]:
    for key, value in told.items():
        if key in _SECTIONS and isinstance(value, dict):
            yield from _faults_in(key, value, _SECTIONS[key], lines)
        elif key in _SECTIONS:
            yield lines.of("", key), f"{key} must be a table: write [{key}] on a line of its own"
        elif key not in _TOP:
            line = lines.of(key) if isinstance(value, (dict, list)) else lines.of("", key)
            yield line, f"unknown key {key}; known are {', '.join([*_TOP, *_SECTIONS])}"
        elif not isinstance(value, str):
            yield lines.of("", key), f"{key} must be text, not {_named(value)}"
    yield from ((1, f"{key} is missing") for key in ("name", "out") if not told.get(key))
    yield from ((1, f"the table [{key}] is missing") for key in ("source", "model") if key not in told)
    if isinstance(told.get("source"), dict):
        yield from _of_source(told["source"], lines)


def _of_source(told: Mapping[str, Any], lines: Lines) -> Iterator[tuple[int, str]]:
    if bool(told.get("path")) == bool(told.get("stac_api")):
        yield lines.of("source"), "give either path or stac_api in [source]"
    for key in ("collection", "bbox", "datetime", "max_cloud", "limit"):
        if told.get(key) and not told.get("stac_api"):
            yield lines.of("source", key), f"{key} belongs to stac_api, which is not given"
    if isinstance(told.get("bbox"), list) and len(told["bbox"]) != 4:  # noqa: PLR2004
        yield lines.of("source", "bbox"), "bbox has four numbers: west, south, east, north"


def _faults_in(
    section: str, told: Mapping[str, Any], kind: Any, lines: Lines, number: int = 0
) -> Iterator[tuple[int, str]]:
    hints = get_type_hints(kind)
    words = {name: key for key, name in _KEYS.items()}
    known = [words.get(item.name, item.name) for item in fields(kind)]
    for key, value in told.items():
        line = lines.of(section, key, number)
        if key not in known:
            yield line, f"unknown key {key} in [{section}]; known are {', '.join(known)}"
        elif key == "rules":
            yield from _faults_of_rules(value, lines)
        elif not _fits(value, hints[_KEYS.get(key, key)]):
            yield line, f"{key} must be {_wanted(hints[_KEYS.get(key, key)])}, not {_named(value)}"
    for item in fields(kind):
        if item.default is MISSING and item.default_factory is MISSING and item.name not in told:
            yield lines.of(section), f"{item.name} is missing in [{section}]"


def _faults_of_rules(value: Any, lines: Lines) -> Iterator[tuple[int, str]]:
    if not isinstance(value, list) or not all(isinstance(rule, dict) for rule in value):
        yield lines.of("alerts", "rules"), "rules are tables: write [[alerts.rules]] for each"
        return
    for number, rule in enumerate(value):
        yield from _faults_in("alerts.rules", rule, Rule, lines, number)
        if rule.get("status", "confirmed") not in ("provisional", "confirmed", "ended"):
            line = lines.of("alerts.rules", "status", number)
            yield line, f"status is provisional, confirmed or ended, not {rule['status']!r}"


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value of a TOML file is of a type; a whole number is a number, true and false are neither."""
    options = get_args(hint) if not hasattr(hint, "__origin__") and get_args(hint) else (hint,)
    return any(_is_one(value, option) for option in options)


def _is_one(value: Any, option: Any) -> bool:
    if getattr(option, "__origin__", None) is list:
        inner = get_args(option)[0]
        return isinstance(value, list) and all(_fits(part, inner) for part in value)
    if option is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, option) and not (isinstance(value, bool) and option is not bool)


def _wanted(hint: Any) -> str:
    options = get_args(hint) if not hasattr(hint, "__origin__") and get_args(hint) else (hint,)
    plain = [getattr(option, "__origin__", option) for option in options if option is not type(None)]
    return " or ".join(dict.fromkeys(_CALLED[option] for option in plain))


def _named(value: Any) -> str:
    return _CALLED.get(type(value), type(value).__name__)


def _made(path: Path, told: Mapping[str, Any]) -> Job:
    made = {name: _filled(kind, told.get(name, {})) for name, kind in _SECTIONS.items()}
    job = Job(path, told["name"], path.parent / told["out"], **made)
    return Job(path, job.name, job.out, **made, aoi=job.at(told["aoi"]) if told.get("aoi") else "")


def _filled(kind: Any, told: Mapping[str, Any]) -> Any:
    given = {_KEYS.get(key, key): value for key, value in told.items()}
    if "rules" in given:
        given["rules"] = [_filled(Rule, rule) for rule in given["rules"]]
    return kind(**given)


def several(value: str | list[str]) -> list[str]:
    """One word or a list of them as a list; nothing for an empty word."""
    return value if isinstance(value, list) else [value] if value else []
