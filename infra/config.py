"""Loading the typed config: preset or file, dotted overrides, and the hashes that identify what a config makes."""

import difflib
import re
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from infra.commits import config_hash
from infra.errors import UsageError
from infra.schema import Config


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads 1e-4 as a word, 1.0e-4 as a number; a config means the number by both."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)

PRESETS = Path(__file__).parent / "presets"


def presets() -> list[str]:
    """Names of the presets that come with the package."""
    return sorted(p.stem for p in PRESETS.glob("*.yaml"))


def load(preset_or_file: str | Path | None = "demo", overrides: list[str] | tuple[str, ...] = ()) -> Config:
    """The config of a preset or YAML file with ``key.sub=value`` overrides (values are YAML) applied in order.

    A file may name a preset it builds on with ``preset: NAME``. Raises UsageError naming the key, what was expected
    and the nearest valid name.
    """
    return override(_read(str(preset_or_file or "demo")), overrides)


def override(data: dict[str, Any], overrides: list[str] | tuple[str, ...]) -> Config:
    """Plain ``data`` with dotted overrides, as a Config. Raises UsageError."""
    for item in overrides:
        key, separator, text = item.partition("=")
        if not separator or not key:
            raise UsageError(f"Override {item!r} is not of the form key=value.", "For example: train.workers=2")
        try:
            value = yaml.load(text, _Loader)
        except yaml.YAMLError as error:
            raise UsageError(f"Override {item!r}: the value is not valid YAML ({error}).") from None
        _check_name(key.split("."))
        try:
            _assign(data, key.split("."), value)
        except (IndexError, TypeError, AttributeError, ValueError):
            raise UsageError(f"{key}: the list there has no entry of that number.", "Give the whole list.") from None
    return validate(data)


def separate(text: str) -> Iterator[str]:
    """The parts of ``text`` between commas that no bracket or quote encloses."""
    depth, quote, start = 0, "", 0
    for place, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character in "[{(":
            depth += 1
        elif character in "]})":
            depth -= 1
        elif character == "," and depth == 0:
            yield text[start:place].strip()
            start = place + 1
    yield text[start:].strip()


def validate(data: dict[str, Any]) -> Config:
    """``data`` as a Config. Raises UsageError listing every wrong key."""
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        lines = [_explain(problem) for problem in error.errors()]
        raise UsageError("The config is not valid:\n" + "\n".join(f"  {line}" for line in lines)) from None


def dump(config: Config) -> str:
    """The whole config as YAML, which :func:`load` reads back."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def section_values(config: Config, *names: str) -> dict[str, Any]:
    """The named sections as plain data, without the keys that do not change what comes out."""
    values = identity(config)
    return {name: values[name] for name in names}


def section_hash(config: Config, *names: str) -> str:
    """SHA-256 that identifies what the named sections make."""
    return config_hash(section_values(config, *names))


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """(dotted key, old value, new value) wherever two identities differ."""
    a, b = dict(_flat(old)), dict(_flat(new))
    pairs = ((key, a.get(key, "(not set)"), b.get(key, "(not set)")) for key in sorted({*a, *b}))
    return [pair for pair in pairs if pair[1] != pair[2]]


def identity(value: Any) -> Any:
    """All keys of a config (or of a part of one) that change what comes out, as plain data."""
    if isinstance(value, BaseModel):
        kept = {n: identity(getattr(value, n)) for n in type(value).model_fields if not _operational(value, n)}
        return {n: v for n, v in kept.items() if v != {}}
    if isinstance(value, dict):
        return {key: identity(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [identity(v) for v in value]
    return value


def _read(name: str) -> dict[str, Any]:
    path = PRESETS / f"{name}.yaml" if name in presets() else Path(name)
    if not path.is_file():
        near = difflib.get_close_matches(name, presets(), 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UsageError(f"{name!r} is neither a preset ({', '.join(presets())}) nor a config file.{hint}")
    try:
        data = yaml.load(path.read_text(), _Loader)
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise UsageError(f"{path} cannot be read as YAML: {error}") from None
    if not isinstance(data, dict):
        raise UsageError(f"{path}: a config is a mapping of keys, this is {type(data).__name__}.")
    if (base := data.pop("preset", None)) is not None:
        if base not in presets():
            raise UsageError(f"{path}: preset {base!r} does not exist; there are {', '.join(presets())}.")
        data = _merge(_read(base), data)
    return data


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    both = dict(base)
    for key, value in over.items():
        mergeable = isinstance(value, dict) and isinstance(both.get(key), dict)
        both[key] = _merge(both[key], value) if mergeable else value
    return both


def _assign(data: Any, keys: list[str], value: Any) -> None:
    """Sets ``a.b.0.c``; numbers index lists."""
    for depth, key in enumerate(keys[:-1], 1):
        data = data[int(key)] if isinstance(data, list) else data.setdefault(key, {})
        if not isinstance(data, (dict, list)):
            where = ".".join(keys[:depth])
            raise UsageError(f"{where} is {data!r}, which has no keys inside it.", f"Give the whole of it: {where}=...")
    if isinstance(data, list):
        data[int(keys[-1])] = value
    else:
        data[keys[-1]] = value


def _check_name(keys: list[str]) -> None:
    kind: Any = Config
    hint = None
    for depth, key in enumerate(keys):
        where = ".".join(keys[: depth + 1])
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            if key not in kind.model_fields:
                raise UsageError(_unknown(where, key, kind))
            kind = _plain(kind.model_fields[key].annotation)
        elif typing.get_origin(kind) in (list, tuple) and key.isdigit():
            kind = _plain(typing.get_args(kind)[0])
        elif typing.get_origin(kind) is dict and key:
            kind = _plain(typing.get_args(kind)[1])
            hint = f"A name that has a dot itself: '{'.'.join(keys[:depth])}={{{'.'.join(keys[depth:])}: ...}}'."
        else:
            raise UsageError(f"{'.'.join(keys[:depth])} has no keys inside it, {where!r} asks for one.", hint)


def _plain(annotation: Any) -> Any:
    """The annotation without Optional and Annotated."""
    if typing.get_origin(annotation) is typing.Annotated:
        return _plain(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return _plain(next(a for a in typing.get_args(annotation) if a is not type(None)))
    return annotation


def _inside(section: Any, part: str | int) -> Any:
    if typing.get_origin(section) is dict:
        return typing.get_args(section)[1]
    return section.model_fields[part].annotation if isinstance(part, str) else typing.get_args(section)[0]


def _unknown(where: str, key: str, section: type[BaseModel]) -> str:
    near = difflib.get_close_matches(key, section.model_fields, 1)
    prefix = where.rpartition(".")[0]
    hint = f" Did you mean {prefix + '.' if prefix else ''}{near[0]}?" if near else ""
    return f"{where}: unknown key.{hint} Valid here: {', '.join(section.model_fields)}."


def _explain(problem: dict[str, Any]) -> str:
    where = ".".join(str(part) for part in problem["loc"]) or "config"
    if problem["type"] == "extra_forbidden":
        section: Any = Config
        for part in problem["loc"][:-1]:
            section = _plain(_inside(section, part))
        return _unknown(where, str(problem["loc"][-1]), section)
    if problem["type"] == "missing":
        return f"{where}: must be set."
    message = problem["msg"].removeprefix("Value error, ")
    given = problem["input"]
    shown = "" if isinstance(given, dict) or problem["type"] == "value_error" else f", not {given!r}"
    return f"{where}: {message[0].lower()}{message[1:]}{shown}."


def _operational(model: BaseModel, name: str) -> bool:
    extra = type(model).model_fields[name].json_schema_extra
    return isinstance(extra, dict) and bool(extra.get("operational"))


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if _has_dicts(value) else None
    if items is None:
        yield prefix, value
        return
    for key, inner in items:
        yield from _flat(inner, f"{prefix}.{key}" if prefix else str(key))


def _has_dicts(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(v, dict) for v in value)
