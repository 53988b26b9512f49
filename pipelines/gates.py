"""Gates: ranges of scores, as data. Judging is apart from scoring, so a threshold changes without decoding anything."""

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import yaml

from infra.errors import UsageError
from pipelines.columns import FAULTS, SCORES
from pipelines.stage import Row, Stage

PRESETS = Path(__file__).with_name("gates")


@dataclass(frozen=True)
class Gate:
    """``min`` <= value <= ``max``; None: no bound. A missing value fails."""

    column: str
    reason: str
    min: float | None = None
    max: float | None = None

    def passes(self, value: float | None) -> bool:
        if value is None or math.isnan(value):
            return False
        return (self.min is None or value >= self.min) and (self.max is None or value <= self.max)


HAS_BODY = Gate("body_speed", reason="no_body")
"""Stands after every list of gates: a clip is stored with its pose, so there must be one."""


def load(preset_or_file: str | Path) -> tuple[Gate, ...]:
    """The gates of a preset or YAML file, in order, and last :data:`HAS_BODY`.

    Raises UsageError naming the file, the gate, what is wrong with it and the nearest valid name.
    """
    names = sorted(path.stem for path in PRESETS.glob("*.yaml"))
    path = PRESETS / f"{preset_or_file}.yaml" if str(preset_or_file) in names else Path(preset_or_file)
    if not path.is_file():
        raise UsageError(f"Gates {str(preset_or_file)!r}: no such preset or file.", f"Presets: {', '.join(names)}.")
    try:
        entries = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, OSError, UnicodeDecodeError) as error:
        raise UsageError(f"Gates {path}: cannot be read as YAML ({error}).") from None
    if not isinstance(entries, list) or not entries:
        raise UsageError(
            f"Gates {path}: a list of gates is expected.", "- {column: people, min: 1, reason: person_count}"
        )
    gates = [_gate(f"Gates {path}, gate {number}", entry) for number, entry in enumerate(entries, 1)]
    return (*gates, HAS_BODY)


def _gate(where: str, entry: Any) -> Gate:
    fields = list(Gate.__dataclass_fields__)
    if not isinstance(entry, dict):
        raise UsageError(f"{where}: {entry!r} is no mapping of {', '.join(fields)}.")
    for key in entry:
        if key not in fields:
            raise UsageError(f"{where}: unknown key {key!r}.{_nearest(key, fields)}")
    for key in ("column", "reason"):
        if not isinstance(entry.get(key), str) or not entry[key]:
            raise UsageError(f"{where}: {key!r} is missing or no text.")
    if entry["column"] not in SCORES:
        raise UsageError(f"{where}: unknown column {entry['column']!r}.{_nearest(entry['column'], SCORES)}")
    if entry["reason"] in FAULTS:
        raise UsageError(f"{where}: reason {entry['reason']!r} is kept for sources and shots that could not be scored.")
    bounds = [entry.get("min"), entry.get("max")]
    for key, bound in zip(("min", "max"), bounds, strict=True):
        if bound is not None and (
            isinstance(bound, bool) or not isinstance(bound, int | float) or not math.isfinite(bound)
        ):
            raise UsageError(f"{where}: {key} is {bound!r}, a number is expected.")
    if bounds == [None, None]:
        raise UsageError(f"{where}: neither min nor max is given: it would pass everything.")
    if None not in bounds and bounds[0] > bounds[1]:
        raise UsageError(f"{where}: min {bounds[0]} is above max {bounds[1]}: it would pass nothing.")
    return Gate(**entry)


def _nearest(name: Any, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(str(name), names, 1, cutoff=0.4)
    return f" Did you mean {near[0]!r}?" if near else f" There are: {', '.join(names)}."


def judge(row: Mapping[str, Any], gates: Sequence[Gate]) -> dict[str, Any]:
    """``verdict`` (kept, rejected), ``reason`` (None if kept) and ``reasons``, of a row of scores.

    A row with a fault is rejected for it and meets no gate.
    """
    if fault := row.get("fault"):
        reasons = [fault]
    else:
        reasons = list(dict.fromkeys(gate.reason for gate in gates if not gate.passes(row.get(gate.column))))
    return {"verdict": "rejected" if reasons else "kept", "reason": reasons[0] if reasons else None, "reasons": reasons}


@dataclass(frozen=True)
class Judge(Stage):
    """:func:`judge` as a stage, so that only survivors are worked on further."""

    gates: tuple[Gate, ...]

    writes: ClassVar = ("verdict", "reason", "reasons")

    @property
    def reads(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(gate.column for gate in self.gates))

    def __call__(self, row: Row) -> Row:
        return judge(row, self.gates)
