"""Read YAML into checked dataclasses and back: unknown keys, wrong types and impossible values are refused by name.

A settings class is a plain dataclass. Its nested dataclasses are sections of the file; what a field may hold follows from
its type, and from :func:`number` where a number has bounds. A ``ValueError`` of a section's own ``__post_init__`` is
reported with the section's name.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import yaml

from ..errors import SuperFaceError

SettingsT = TypeVar("SettingsT")


class SettingsError(SuperFaceError):
    """A settings file, or an option of the command line, that cannot be used; the message names the key."""


def number(default: Any, *, low: float | None = None, high: float | None = None) -> Any:
    """Return a dataclass field for a number (or a tuple of them) from ``low`` to ``high``."""
    return dataclasses.field(default=default, metadata={"low": low, "high": high})


def load_settings(
    kind: type[SettingsT], path: Path | None, changes: Iterable[str] = (), named: Mapping[str, Any] | None = None
) -> SettingsT:
    """Return settings from a YAML file (None: the defaults), changed by ``changes`` such as ``schedule.steps=100``, and
    then by the values ``named`` by their keys.

    Raises:
        SettingsError: the file cannot be read, or a key or value in it or among the changes is wrong.
    """
    values: Any = {}
    if path is not None:
        try:
            values = parse_yaml(path.read_text("utf-8"))
        except (OSError, ValueError) as error:  # ValueError: not UTF-8, or an impossible file name
            raise SettingsError(f"The settings {path} cannot be read: {error}.") from error
        except SettingsError as error:
            raise SettingsError(f"{path}: {error}") from error
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise SettingsError(f"{path}: expected sections with settings, found {_shown(values)}.")
    for change in changes:
        key, equals, text = change.partition("=")
        if not (key and equals):
            raise SettingsError(f"Expected KEY=VALUE, such as schedule.steps=100, not {change!r}.")
        _put(values, key.split("."), parse_yaml(text), key)
    for key, value in (named or {}).items():
        _put(values, key.split("."), value, key)
    return build(kind, values)


def build(kind: type[SettingsT], values: Mapping[str, Any], section: str = "") -> SettingsT:
    """Return a settings dataclass from nested dictionaries; fields that are not given keep their defaults."""
    fields = {field.name: field for field in dataclasses.fields(kind) if field.init}  # type: ignore[arg-type]
    hints = typing.get_type_hints(kind)
    given: dict[str, Any] = {}
    for key, value in values.items():
        name = _join(section, str(key))
        if key not in fields:
            raise SettingsError(_unknown(name, str(key), kind, section))
        given[str(key)] = converted(value, hints[str(key)], name)
        _check_bounds(given[str(key)], fields[str(key)], name)
    missing = [
        _join(section, name)
        for name, field in fields.items()
        if name not in given and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise SettingsError(f"{', '.join(missing)} must be given.")
    try:
        return kind(**given)
    except SettingsError:
        raise
    except ValueError as error:
        raise SettingsError(f"{section or 'settings'}: {error}") from error


def as_dict(settings: Any) -> dict[str, Any]:
    """Return the settings as nested dictionaries of types that YAML and JSON have; ``build`` gives the same settings
    back."""
    return {name: _plain(value) for name, value in dataclasses.asdict(settings).items()}


def as_yaml(settings: Any) -> str:
    return yaml.safe_dump(as_dict(settings), sort_keys=False, allow_unicode=True)


def flat(settings: Any) -> dict[str, int | float | str | bool]:
    """Return one entry ``section.key`` for each setting, as experiment trackers take them."""
    entries: dict[str, int | float | str | bool] = {}

    def walk(values: dict[str, Any], section: str) -> None:
        for key, value in values.items():
            name = _join(section, key)
            if isinstance(value, dict) and value:
                walk(value, name)
            else:
                entries[name] = value if isinstance(value, (bool, int, float, str)) else str(value)

    walk(as_dict(settings), "")
    return entries


class _Loader(yaml.SafeLoader):
    """A YAML loader that reads ``3e-4`` as a number and ``no`` as text (YAML 1.1 does neither), and refuses repeated keys."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise SettingsError(f"{twice} is given twice (line {node.start_mark.line + 1} and after).")
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+0123456789.")
)


_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(true|false|True|False)$"), list("tfTF"))


def parse_yaml(text: str) -> Any:
    try:
        return yaml.load(text, _Loader)
    except SettingsError:
        raise
    except (yaml.YAMLError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise SettingsError(f"This is no YAML: {' '.join(str(error).split())[:300]}") from error


def converted(value: Any, hint: Any, name: str) -> Any:
    """Return ``value`` as the type ``hint``, or raise an error that says what is expected."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if value is None:
            value = {}
        if not isinstance(value, dict):
            raise SettingsError(f"{name} is a section with settings, not {_shown(value)}.")
        return build(hint, value, name)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in parts:
            return None
        return _converted_to_any(value, [part for part in parts if part is not type(None)], name, type(None) in parts)
    if origin is typing.Literal:
        if value not in parts or type(value) not in {type(part) for part in parts}:
            raise SettingsError(f"{name} must be one of {_listed(parts)}, not {_shown(value)}.{_near(value, parts)}")
        return value
    if origin in (tuple, list):
        return _sequence(value, origin, parts, name)
    if origin is dict:
        if not isinstance(value, dict):
            raise SettingsError(f"{name} must hold names with values, not {_shown(value)}.")
        return {str(key): converted(entry, parts[1], _join(name, str(key))) for key, entry in value.items()}
    if hint is Any:
        return value
    if hint is Path and isinstance(value, str):
        return Path(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise SettingsError(f"{name} must be {_TYPE_NAMES.get(hint, hint.__name__)}, not {_shown(value)}.")
    return value


def _converted_to_any(value: Any, parts: list[Any], name: str, optional: bool) -> Any:
    error: SettingsError | None = None
    for part in parts:
        try:
            return converted(value, part, name)
        except SettingsError as this:
            error = this
    assert error is not None
    if optional and len(parts) == 1:
        raise SettingsError(f"{str(error).rstrip('.')} (or null for none).") from error
    raise error


def _sequence(value: Any, kind: type, parts: tuple[Any, ...], name: str) -> Any:
    if not isinstance(value, (list, tuple)):
        raise SettingsError(f"{name} must be a list, not {_shown(value)}.")
    if kind is list or (len(parts) == 2 and parts[1] is Ellipsis):
        return kind(converted(entry, parts[0], f"{name}[{index}]") for index, entry in enumerate(value))
    if len(value) != len(parts):
        raise SettingsError(f"{name} must have {len(parts)} entries, not {len(value)}.")
    return tuple(
        converted(entry, part, f"{name}[{index}]") for index, (entry, part) in enumerate(zip(value, parts, strict=True))
    )


def _check_bounds(value: Any, field: dataclasses.Field[Any], name: str) -> None:
    low, high = field.metadata.get("low"), field.metadata.get("high")
    for entry in value if isinstance(value, (tuple, list)) else (value,):
        if not isinstance(entry, (int, float)) or isinstance(entry, bool):
            continue
        # Written as "not inside the bounds", so that NaN is refused too.
        if (low is not None and not entry >= low) or (high is not None and not entry <= high):
            bounds = [
                f"{word} {bound:g}" for word, bound in (("at least", low), ("at most", high)) if bound is not None
            ]
            raise SettingsError(f"{name} must be {' and '.join(bounds)}, not {entry:g}.")


def _put(values: dict[str, Any], keys: list[str], value: Any, name: str) -> None:
    for depth, key in enumerate(keys[:-1]):
        inner = values.setdefault(key, {})
        if inner is None:
            inner = values[key] = {}
        if not isinstance(inner, dict):
            raise SettingsError(f"{name} cannot be set: {'.'.join(keys[: depth + 1])} is no section.")
        values = inner
    values[keys[-1]] = value


def _unknown(name: str, key: str, kind: type, section: str) -> str:
    known = [field.name for field in dataclasses.fields(kind) if field.init]
    return f"Unknown setting {name}. {nearest(key, known, section)}"


def nearest(key: str, known: list[str], section: str) -> str:
    """Return the part of an error message that says which known key is nearest to an unknown one, or lists all of
    them."""
    near = difflib.get_close_matches(key, known, 1, 0.6)
    if near:
        return f"Did you mean {_join(section, near[0])}?"
    return f"{section or 'The file'} has: {', '.join(known)}."


_TYPE_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def _near(value: Any, choices: tuple[Any, ...]) -> str:
    near = difflib.get_close_matches(str(value), [str(choice) for choice in choices], 1, 0.5)
    return f" Did you mean {near[0]}?" if near else ""


def _listed(choices: tuple[Any, ...]) -> str:
    return ", ".join(str(choice) for choice in choices)


def _shown(value: Any) -> str:
    return "nothing" if value is None else repr(value)


def _join(section: str, key: str) -> str:
    return f"{section}.{key}" if section else key


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return str(value) if isinstance(value, Path) else value
