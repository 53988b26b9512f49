"""Gates: ranges of scores, as data. Judging is apart from scoring, so a threshold changes without decoding anything.

A file is a list of gates, or a mapping with tiers:

.. code-block:: yaml

    about: one line
    gates:              # what every kept clip passes; the first that fails gives the reason
      - {column: brightness, min: 10, max: 210, reason: too_dark}
      - {column: aesthetic, min: 4, reason: aesthetic, optional: true}   # passes where there is no value
    tiers:              # each holds in addition to those before it; the last one passed names the clip's tier
      hq:
        - {column: hand_visibility, min: 0.5, reason: hands}
    base_tier: train    # the tier of a clip that passes the gates alone
"""

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import yaml

from infra.errors import UsageError
from pipelines.columns import BY_NAME, FAULTS, SCORES
from pipelines.work.stage import Row, Stage

PRESETS = Path(__file__).with_name("gates")
LARGEST = 1e15
"""No bound is as large: beyond there whole numbers are not told apart."""
REACHED = ("found", "scan", "pose")
"""How far a row was measured, in order."""


@dataclass(frozen=True)
class Gate:
    """``min`` <= value <= ``max``; None: no bound. A missing value fails, unless the gate is ``optional``."""

    column: str
    reason: str
    min: float | None = None
    max: float | None = None
    optional: bool = False

    def passes(self, value: float | None) -> bool:
        if value is None:
            return self.optional
        if math.isnan(value):
            return False
        return (self.min is None or value >= self.min) and (self.max is None or value <= self.max)


@dataclass(frozen=True)
class Tier:
    """What a clip passes in addition to all that is below."""

    name: str
    gates: tuple[Gate, ...]


@dataclass(frozen=True)
class Gates:
    """``gates`` are for every kept clip; ``tiers`` rise. ``dataclasses.asdict`` gives plain data."""

    gates: tuple[Gate, ...]
    tiers: tuple[Tier, ...] = ()
    base_tier: str = "train"
    about: str = ""


HAS_BODY = Gate("body_speed", reason="no_body")
"""Stands after every list of gates: a clip is stored with its pose, so there must be one."""


def judge(row: Mapping[str, Any], gates: Gates) -> dict[str, Any]:
    """``verdict`` (kept, rejected), ``reason`` (None if kept), ``reasons``, ``tier`` (None if rejected) and ``missed``,
    the reasons that keep a kept clip from the next tier ([] at the top, and of a rejected one).

    A row with a fault is rejected for it and meets no gate. Gates on scores of a unit of work that the row never
    reached (its column ``reached``; without one it is taken to have reached all) are not judged; a row that passes
    the others is rejected as ``not_scored``.
    """
    reached = REACHED.index(row.get("reached") or "pose")
    if fault := row.get("fault"):
        reasons = [fault]
    else:
        judged = [gate for gate in gates.gates if REACHED.index(BY_NAME[gate.column].after) <= reached]
        reasons = _failing(row, judged)
        if not reasons and len(judged) < len(gates.gates):
            reasons = ["not_scored"]
    if reasons:
        return {"verdict": "rejected", "reason": reasons[0], "reasons": reasons, "tier": None, "missed": []}
    name, missed = gates.base_tier, []
    for tier in gates.tiers:
        missed = _failing(row, tier.gates)
        if missed:
            break
        name = tier.name
    return {"verdict": "kept", "reason": None, "reasons": [], "tier": name, "missed": missed}


def _failing(row: Mapping[str, Any], gates: Sequence[Gate]) -> list[str]:
    return list(dict.fromkeys(gate.reason for gate in gates if not gate.passes(row.get(gate.column))))


@dataclass(frozen=True)
class JudgeScan(Stage):
    """Rejects what fails the gates on scores of the scan, with all reasons that these give, so that poses are estimated
    only in what may still be kept. What passes gets no verdict yet.
    """

    gates: Gates

    writes: ClassVar = ("verdict", "reason", "reasons", "tier", "missed")

    @property
    def reads(self) -> tuple[str, ...]:
        columns = (gate.column for gate in self.gates.gates)
        return tuple(dict.fromkeys(column for column in columns if BY_NAME[column].after == "scan"))

    def __call__(self, row: Row) -> Row:
        verdict = judge({**row, "reached": "scan"}, self.gates)
        return {} if verdict["reason"] in (None, "not_scored") else verdict


def load(preset_or_file: str | Path) -> Gates:
    """The gates of a preset or YAML file; the last of ``gates`` is :data:`HAS_BODY`.

    Raises UsageError naming the file, the gate, what is wrong with it and the nearest valid name.
    """
    names = sorted(path.stem for path in PRESETS.glob("*.yaml"))
    path = PRESETS / f"{preset_or_file}.yaml" if str(preset_or_file) in names else Path(preset_or_file)
    if not path.is_file():
        raise UsageError(f"Gates {str(preset_or_file)!r}: no such preset or file.", f"Presets: {', '.join(names)}.")
    where = f"Gates {path}"
    try:
        content = yaml.load(path.read_text(), _StrictLoader)
    except (yaml.YAMLError, OSError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{where}: cannot be read as YAML ({error}).") from None
    if isinstance(content, list):
        content = {"gates": content}
    if not isinstance(content, dict):
        raise UsageError(f"{where}: {content!r} is neither a list of gates nor a mapping.", EXAMPLE)
    keys = list(Gates.__dataclass_fields__)
    for key in content:
        if key not in keys:
            raise UsageError(f"{where}: unknown key {key!r}.{_nearest(key, keys)}", EXAMPLE)
    about, base = content.get("about", Gates.about), content.get("base_tier", Gates.base_tier)
    for key, value in (("about", about), ("base_tier", base)):
        if not isinstance(value, str):
            raise UsageError(f"{where}: {key} is {value!r}, a text is expected.")
    tiers = content.get("tiers", {})
    if not isinstance(tiers, dict):
        raise UsageError(f"{where}: tiers is {tiers!r}, a mapping of names to lists of gates is expected.")
    for name in (base, *tiers):
        if not isinstance(name, str) or not name:
            raise UsageError(f"{where}: {name!r} is no name of a tier, a text is expected.")
    if base in tiers:
        raise UsageError(f"{where}: tier {base!r} is there twice: base_tier (default train) is the lowest tier's name.")
    return Gates(
        gates=(*_gates(where, content.get("gates")), HAS_BODY),
        tiers=tuple(Tier(name, _gates(f"{where}, tier {name}", entries)) for name, entries in tiers.items()),
        base_tier=base,
        about=about,
    )


EXAMPLE = "A gate: {column: people, min: 1, reason: person_count}. pipelines/gates/ has whole files."


class _StrictLoader(yaml.SafeLoader):
    """YAML takes the last of two equal keys: a tier or bound would be lost in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [key.value for key, _ in node.value]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise yaml.constructor.ConstructorError(None, None, f"{twice[0]!r} is there twice", node.start_mark)
        return super().construct_mapping(node, deep)


def _gates(where: str, entries: Any) -> tuple[Gate, ...]:
    if not isinstance(entries, list) or not entries:
        raise UsageError(f"{where}: a list of gates is expected.", EXAMPLE)
    return tuple(_gate(f"{where}, gate {number}", entry) for number, entry in enumerate(entries, 1))


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
        raise UsageError(f"{where}: reason {entry['reason']!r} is kept for what no gate judges.")
    if not isinstance(entry.get("optional", False), bool):
        raise UsageError(f"{where}: optional is {entry['optional']!r}, true or false is expected.")
    bounds = [entry.get("min"), entry.get("max")]
    for key, bound in zip(("min", "max"), bounds, strict=True):
        if bound is not None and (
            isinstance(bound, bool) or not isinstance(bound, int | float) or not abs(bound) < LARGEST
        ):
            raise UsageError(f"{where}: {key} is {str(bound)[:40]}, a number is expected.")
    if bounds == [None, None]:
        raise UsageError(f"{where}: neither min nor max is given: it would pass everything.")
    if None not in bounds and bounds[0] > bounds[1]:
        raise UsageError(f"{where}: min {bounds[0]} is above max {bounds[1]}: it would pass nothing.")
    return Gate(**entry)


def _nearest(name: Any, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(str(name), names, 1, cutoff=0.4)
    return f" Did you mean {near[0]!r}?" if near else f" There are: {', '.join(names)}."
