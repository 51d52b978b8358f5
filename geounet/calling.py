"""What the public verbs take: paths as texts, too."""

from __future__ import annotations

import functools
import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def with_paths(verb: Callable[..., Any]) -> Callable[..., Any]:
    """The verb such that texts stand for paths, where it wants paths and takes no names such as URLs.

    Args:
        verb: a function whose annotations are texts, as `from __future__ import annotations` makes them.
    """
    signature = inspect.signature(verb)
    wanted = {
        name
        for name, parameter in signature.parameters.items()
        if "Path" in str(parameter.annotation) and "str" not in str(parameter.annotation)
    }

    @functools.wraps(verb)
    def called(*args: Any, **given: Any) -> Any:
        bound = signature.bind(*args, **given)
        for name in wanted & bound.arguments.keys():
            bound.arguments[name] = _as_path(bound.arguments[name])
        return verb(*bound.args, **bound.kwargs)

    return called


def _as_path(value: Any) -> Any:
    """A text as a path, and texts in lists and tuples likewise."""
    if isinstance(value, str):
        return Path(value)
    return type(value)(map(_as_path, value)) if type(value) in (list, tuple) else value
