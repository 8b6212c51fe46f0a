"""Options: a frozen dataclass is the parser, the validator, the help table and the record.

A backend declares its volume options and its profile settings as frozen dataclasses whose fields
are made with `option()`. `parse` turns the strings a person typed into such an object and reports
every problem at once; `to_strings` turns it back into what is stored and shown.
"""

import dataclasses
import difflib
import enum
import re
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from backends.errors import InvalidOptions

T = TypeVar("T")


class Size(int):
    """A number of bytes, written `512M`, `10G`, `1.5T` (powers of 1024) or as plain bytes."""

    def __str__(self) -> str:
        for power, letter in ((4, "T"), (3, "G"), (2, "M"), (1, "K")):
            unit = 1024**power
            if self >= unit and self % unit == 0:
                return f"{int(self) // unit}{letter}"
        return str(int(self))

    @classmethod
    def parse(cls, text: str) -> "Size":
        """Raise ValueError with what is expected. Zero and negative sizes are refused."""
        match = re.fullmatch(
            r"([0-9]{1,15}(?:\.[0-9]{1,6})?) ?([KMGTP]?)(?:i?B)?", text.strip(), re.I | re.ASCII
        )
        if not match:
            raise ValueError("is not a size; write it like 512M, 10G or 1.5T")
        unit = 1024 ** " KMGTP".index(match[2].upper() or " ")
        value = cls(int(float(match[1]) * unit) if "." in match[1] else int(match[1]) * unit)
        if value <= 0:
            raise ValueError("must be larger than zero")
        return value


class Mode(int):
    """Permission bits, written in octal (`0750`)."""

    def __str__(self) -> str:
        return f"{int(self):04o}"

    @classmethod
    def parse(cls, text: str) -> "Mode":
        """Raise ValueError unless `text` is three or four octal digits."""
        if not re.fullmatch(r"[0-7]{3,4}", text, re.ASCII):
            raise ValueError("is not an octal mode; write it like 0750")
        return cls(int(text, 8))


def option(default: Any = dataclasses.MISSING, *, help: str, placeholder: str = "") -> Any:
    """A dataclass field with its line of help. Without `default` the option is required."""
    metadata = {"help": help, "placeholder": placeholder}
    if default is dataclasses.MISSING:
        return dataclasses.field(metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class OptionHelp:
    """One row of the help table."""

    name: str
    values: str
    default: str
    help: str


HelpTables = Mapping[str, Mapping[str, Sequence[OptionHelp]]]
"""By backend: `options` of its volumes, `settings` of its profiles."""


def describe(cls: type[Any]) -> tuple[OptionHelp, ...]:
    """The help table of an options dataclass, in declaration order."""
    kinds = _kinds(cls)
    return tuple(
        OptionHelp(
            name=spelled(field),
            values=field.metadata["placeholder"] or _values(kinds[field.name]),
            default=_shown_default(field),
            help=field.metadata["help"],
        )
        for field in _fields(cls)
    )


def parse(cls: type[T], raw: Mapping[str, str], *, subject: str, word: str = "option") -> T:
    """Build `cls` from what a person typed. `word`: what people call one of its fields.

    Raises InvalidOptions naming `subject` and listing every problem: unknown names (with the
    nearest valid one and the whole list), bad values, missing ones, and what `cls.problems()`
    (cross-field rules, optional) finds once all single values are good.
    """
    fields = {spelled(field): field for field in _fields(cls)}
    kinds = _kinds(cls)
    problems: list[str] = []
    values: dict[str, Any] = {}
    for name, text in raw.items():
        if name not in fields:
            problems.append(_unknown(word, name, fields))
            continue
        try:
            values[fields[name].name] = _convert(kinds[fields[name].name], text)
        except ValueError as error:
            problems.append(f"{name}={str(text)[:80]!r} {error}")
    for name, field in fields.items():
        if field.name not in values and field.default is dataclasses.MISSING and name not in raw:
            problems.append(f"{name}= is missing ({field.metadata['help']})")
    if problems:
        raise InvalidOptions(subject, problems)
    made = cls(**values)
    cross: Iterable[str] = getattr(made, "problems", tuple)()
    if found := list(cross):
        raise InvalidOptions(subject, found)
    return made


def to_strings(options: Any) -> dict[str, str]:
    """The effective options as strings that `parse` accepts; unset ones are left out."""
    return {
        spelled(field): _show(value)
        for field in _fields(type(options))
        if (value := getattr(options, field.name)) is not None
    }


def spelled(field: "dataclasses.Field[Any]") -> str:
    """The name a person types: `from_` is `from`."""
    return field.name.rstrip("_")


def _fields(cls: type[Any]) -> "tuple[dataclasses.Field[Any], ...]":
    return tuple(f for f in dataclasses.fields(cls) if "help" in f.metadata)


def _shown_default(field: "dataclasses.Field[Any]") -> str:
    if field.default is dataclasses.MISSING:
        return "required"
    return "" if field.default is None else _show(field.default)


def _kinds(cls: type[Any]) -> dict[str, type[Any]]:
    """The type of each field with `| None` taken off."""
    kinds = {}
    for name, hint in typing.get_type_hints(cls).items():
        if typing.get_origin(hint) in (types.UnionType, typing.Union):
            hint = next(arm for arm in typing.get_args(hint) if arm is not type(None))
        kinds[name] = hint
    return kinds


def _convert(kind: type[Any], text: object) -> Any:
    if not isinstance(text, str):
        raise ValueError("is not text")
    if "\0" in text:
        raise ValueError("contains a NUL byte")
    if hasattr(kind, "parse"):
        return kind.parse(text)
    if kind is bool:
        return _boolean(text)
    if kind is int:
        return _integer(text)
    if kind is float:
        return _seconds(text)
    if issubclass(kind, enum.Enum):
        if text not in [member.value for member in kind]:
            raise ValueError(f"is not one of {_values(kind)}")
        return kind(text)
    if kind is Path and not Path(text).is_absolute():
        raise ValueError("is not an absolute path")
    if not text:
        raise ValueError("is empty")
    return kind(text)


def _boolean(text: str) -> bool:
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if text.lower() not in words:
        raise ValueError("is neither true nor false")
    return words[text.lower()]


def _integer(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,15}", text, re.ASCII):
        raise ValueError("is not a whole number from 0 up")
    return int(text)


def _seconds(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,6})?", text, re.ASCII):
        raise ValueError("is not a number of seconds such as 2 or 0.5")
    return float(text)


def _values(kind: type[Any]) -> str:
    if issubclass(kind, enum.Enum):
        return "|".join(str(member.value) for member in kind)
    names = {Size: "SIZE", Mode: "OCTAL", bool: "true|false", int: "NUMBER", float: "SECONDS"}
    return names.get(kind, "PATH" if kind is Path else "TEXT")


def _show(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value.value) if isinstance(value, enum.Enum) else str(value)


def _unknown(word: str, name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    return f"unknown {word} {name[:60]!r}{hint}; valid: {', '.join(sorted(known))}"
