"""What the public verbs take besides their own arguments: what the command line's options take.

A verb whose argument is a group of choices (`engine`, `opening`, `recipe` …) takes the members of the group by their
names as well, texts for paths, and files for class tables.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Parameters = dict[str, inspect.Parameter]

_GROUPS = {
    "Cleaning": "geounet.components.cleaning",
    "Engine": "geounet.engine.plan",
    "Opening": "geounet.raster.opening",
    "Recipe": "geounet.tasks.product",
    "Schedule": "geounet.training.loop",
    "Source": "geounet.data.source",
}
"""Where a group of choices is defined, unless the verb's own module has one of the name."""
_CALLED = {"format": "vector_format", "layer": "layers", "mask": "masks", "simplify": "simplification"}
"""What the command line calls arguments otherwise."""
_WITHOUT_LIMIT, _EPOCHS = 1_000_000, 100


@dataclasses.dataclass(frozen=True, slots=True)
class _Member:
    """A choice in a group, perhaps in a group within it."""

    way: tuple[str, ...]
    """Names of the groups, the outermost first."""
    field: dataclasses.Field[Any]
    """The choice."""


def with_options(verb: Callable[..., Any]) -> Callable[..., Any]:
    """The verb such that it takes the members of its groups of choices, and texts for paths.

    Args:
        verb: a function whose annotations are texts, as `from __future__ import annotations` makes them.
    """
    signature = inspect.signature(verb)
    kinds = _kinds(verb, signature)
    members: dict[str, _Member] = {}
    for name, found in _members(kinds):
        if name not in signature.parameters:
            members.setdefault(name, found)

    @functools.wraps(verb)
    def called(*args: Any, **given: Any) -> Any:
        given = {_own_name(name, signature, members): value for name, value in given.items()}
        own = {name: value for name, value in given.items() if name not in members}
        bound = signature.bind_partial(*args, **own)
        chosen = {name: _converted(given[name], members[name].field.type) for name in given if name in members}
        for name, kind in kinds.items():
            _fill(
                bound.arguments,
                name,
                kind,
                {key: value for key, value in chosen.items() if members[key].way[0] == name},
                members,
            )
        for name, value in bound.arguments.items():
            bound.arguments[name] = _converted(value, signature.parameters[name].annotation)
        # Names in another order than the arguments' do no harm; what is missing is told by the verb's own signature.
        return verb(*bound.args, **bound.kwargs)

    called.__signature__ = _wider(signature, members)  # type: ignore[attr-defined]
    return called


def _kinds(verb: Callable[..., Any], signature: inspect.Signature) -> dict[str, Any]:
    """The arguments that are groups, each kind of group once: what validates a training has no names of its own."""
    kinds: dict[str, Any] = {}
    for name, parameter in signature.parameters.items():
        kind = _kind(verb, parameter)
        if kind is not None and kind not in kinds.values():
            kinds[name] = kind
    return kinds


def _kind(verb: Callable[..., Any], parameter: inspect.Parameter) -> Any:
    """The group of choices that an argument is, if it is one."""
    for name in str(parameter.annotation).replace("|", " ").split():
        found = getattr(sys.modules[verb.__module__], name, None)
        if found is None and name in _GROUPS:
            found = getattr(importlib.import_module(_GROUPS[name]), name)
        if dataclasses.is_dataclass(found) and isinstance(found, type) and name in {*_GROUPS, "Rules"}:
            return found
    return None


def _members(kinds: dict[str, Any], way: tuple[str, ...] = ()) -> Iterator[tuple[str, _Member]]:
    for group, kind in kinds.items():
        for field in dataclasses.fields(kind):
            inner = _inner(field)
            if inner is not None:
                yield from _members({field.name: inner}, (*way, group))
            else:
                yield field.name, _Member((*way, group), field)


def _inner(field: dataclasses.Field[Any]) -> Any:
    """The group within a group: `engine` and `opening` of a recipe."""
    name = str(field.type).partition(" ")[0]
    if name not in ("Engine", "Opening"):
        return None
    return getattr(importlib.import_module(_GROUPS[name]), name)


def _own_name(name: str, signature: inspect.Signature, members: dict[str, _Member]) -> str:
    """The argument that is called otherwise on the command line."""
    other = _CALLED.get(name, name)
    known = {*signature.parameters, *members}
    if name in known or other in known:
        return name if name in known else other
    raise TypeError(f"got an unexpected keyword argument {name!r}; there are {', '.join(sorted(known))}")


def _fill(arguments: dict[str, Any], name: str, kind: Any, chosen: dict[str, Any], members: dict[str, _Member]) -> None:
    """Put a group together of what was chosen, on top of the one that was given."""
    given: Any = arguments.get(name)
    if given is not None and not hasattr(given, "__dataclass_fields__"):
        first = dataclasses.fields(kind)[0].name
        chosen, given = {first: _as_tuple(given), **chosen}, None
    if not chosen and (given is not None or name not in {"recipe", "schedule"}):
        return
    direct = {key: value for key, value in chosen.items() if key not in members or len(members[key].way) == 1}
    for inner in {members[key].way[1] for key in chosen if key in members and len(members[key].way) > 1}:
        parts = {key: value for key, value in chosen.items() if members[key].way[1:] == (inner,)}
        field = next(field for field in dataclasses.fields(kind) if field.name == inner)
        before = getattr(given, inner) if given is not None else None
        group = _inner(field)
        assert group is not None, "a way leads through groups"
        direct[inner] = group(**parts) if before is None else dataclasses.replace(before, **parts)
    if kind.__name__ == "Schedule" and given is None:
        direct = {"epochs": _WITHOUT_LIMIT if direct.get("minutes") else _EPOCHS, **direct}
    arguments[name] = kind(**direct) if given is None else dataclasses.replace(given, **direct)


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return (value,) if isinstance(value, (str, Path)) else tuple(value)


def _converted(value: Any, annotation: Any) -> Any:
    """Texts as the paths that are wanted, lists as tuples, files as the tables that they hold."""
    wanted = str(annotation)
    if isinstance(value, (str, Path)):
        if "LandClass]" in wanted and "Callable" not in wanted:
            from geounet.class_tables import read_classes

            return read_classes(Path(value))
        if "Mapping[str, int]" in wanted:
            from geounet.class_tables import read_class_map

            return read_class_map(Path(value))
        if wanted.startswith(("tuple[", "Sequence[")):
            return (value,)
    if "Path" in wanted and "str" not in wanted:
        return _as_paths(value)
    return tuple(value) if isinstance(value, list) and wanted.startswith("tuple[") else value


def _as_paths(value: Any) -> Any:
    """A text as a path, and texts in lists and tuples likewise."""
    if isinstance(value, str):
        return Path(value)
    return type(value)(map(_as_paths, value)) if type(value) in (list, tuple) else value


def _wider(signature: inspect.Signature, members: dict[str, _Member]) -> inspect.Signature:
    """The signature with all members as keywords; groups of which there are members need not be given."""
    own = [
        parameter.replace(default=None) if parameter.name in ("recipe", "schedule") else parameter
        for parameter in signature.parameters.values()
    ]
    more = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=_default(found.field), annotation=found.field.type
        )
        for name, found in members.items()
    ]
    return signature.replace(parameters=[*own, *more])


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None if field.default is dataclasses.MISSING else field.default
