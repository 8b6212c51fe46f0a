"""What was read from a store is what its dataclass says, before anybody acts on it.

A record that somebody edited, or a store that mixed up two, must not become `epoch="7"` or a lease
of NaN seconds: every comparison with NaN is false, and a live node would be taken for dead.
"""

import functools
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


def typed(made: T) -> T:
    """`made`, a dataclass, if each field is of its annotated type; else ValueError naming it.
    Numbers are finite, and never negative."""
    kind: Any = type(made)
    for name, wanted in _annotations(kind).items():
        value = getattr(made, name)
        if not _is(value, wanted):
            raise ValueError(f"{name} is {str(value)[:60]!r}")
    return made


@functools.cache
def _annotations(cls: type[Any]) -> Mapping[str, Any]:
    hints = get_type_hints(cls)
    return {field.name: hints[field.name] for field in fields(cls)}


def _is(value: object, wanted: Any) -> bool:
    origin, inner = get_origin(wanted), get_args(wanted)
    if origin in (Union, UnionType):
        return any(_is(value, one) for one in inner)
    if origin is tuple:
        return isinstance(value, tuple) and all(_is(one, inner[0]) for one in value)
    if origin is not None:  # a mapping
        return isinstance(value, Mapping) and all(
            _is(key, inner[0]) and _is(one, inner[1]) for key, one in value.items()
        )
    if wanted in (int, float):
        return _is_number(value, wanted)
    if not isinstance(value, wanted):
        return False
    return not is_dataclass(value) or bool(typed(value))


def _is_number(value: object, wanted: type) -> bool:
    kinds = (int,) if wanted is int else (int, float)
    return (
        isinstance(value, kinds)
        and not isinstance(value, bool)
        and math.isfinite(value)
        and value >= 0
    )
