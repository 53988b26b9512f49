"""The rules that a manifest must keep, as Great Expectations, and the rows that each of them is about."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pipelines.checks.verdicts import judged_again, known_reasons
from pipelines.columns import COLUMNS, POSE_SCORES, RIGHTS, SCAN_SCORES
from pipelines.dataset import SPLIT_SOURCES
from pipelines.gates import REACHED, Gates
from pipelines.ingest.rights import is_date

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

SHAPES = {
    "clip_id": "^[0-9a-f]{20}$",
    "source_id": "^[0-9a-f]{64}$",
    "sha256": "^[0-9a-f]{64}$",
    "source": r"^(?!/)(?!\.\./)(?!.*/\.\./)",
    "bucket": r"^[1-9]\d*x[1-9]\d*$",
    "shard": r"^shard-\d{6}\.tar$",
}
IN_SETS = {
    "verdict": ("kept", "rejected"),
    "reached": REACHED,
    "split": ("train", "val"),
    "rotation": (0, 90, 180, 270),
}
EVERY_NEEDS = ("clip_id", "source", "reached", "verdict")
KEPT_NEED = ("source_id", "shot", "start", "frames", "fps", "width", "height", "tier", "bucket", "stored_frames")
KEPT_NEED += ("split", "caption", "caption_from", "shard", "offset", "bytes", "sha256")
OF_THE_SHOT = ("duration", "short_side", "bits_per_pixel", "letterbox")
"""Known of a source or shot too that no window was found in."""
ALWAYS_WITH_POSE = ("people", "people_max", "people_wavering", "single_person", "body_confidence", "body_visibility")
ALWAYS_WITH_POSE += ("hand_visibility", "face_visibility")
"""The other scores of a pose are null where no body was seen, or without weights."""
FAULTS_WITH_TEXT = ("unreadable", "timed_out", "out_of_memory", "crashed", "failed")
NOT_IN_THE_TABLE = ("fingerprint", "members", "crop", "reasons", "missed")
ROUNDING = 2e-3
"""Seconds: spans are whole milliseconds."""


@dataclass(frozen=True)
class Rule:
    """Breaking a ``critical`` rule refuses the dataset, a ``warning`` is shown."""

    name: str
    expectation: Any
    severity: Literal["critical", "warning"] = "critical"


@dataclass
class View:
    """Rows and what must hold of them. ``key`` is the column that names a row where it breaks a rule."""

    name: str
    table: "pd.DataFrame"
    rules: list[Rule] = field(default_factory=list)
    key: str = "clip"

    def add(self, name: str, expectation: Any) -> None:
        self.rules.append(Rule(name, expectation))

    def holds(self, name: str, truth: Iterable[bool], severity: Literal["critical", "warning"] = "critical") -> None:
        """A rule that Great Expectations has no class for: ``truth`` says of each row whether it holds."""
        import great_expectations.expectations as gxe
        import numpy as np

        self.table[name] = np.asarray(truth, bool)
        self.rules.append(Rule(name, gxe.ExpectColumnValuesToBeInSet(column=name, value_set=[True]), severity))


def manifest_views(
    rows: "pa.Table",
    gates: Gates,
    *,
    frames: int,
    fps: float,
    rights_required: Sequence[str],
    windows_per_shot: int,
    never_again: Collection[str] = (),
) -> list[View]:
    """All rows, the kept and the rejected ones. ``never_again``: source_ids that must not be kept."""
    table = rows.drop_columns(list(NOT_IN_THE_TABLE)).to_pandas()
    for name in (*RIGHTS, "caption", "error"):  # blank text says nothing
        table[name] = table[name].where(table[name].str.strip().astype(bool), None)
    table["clip"] = table["clip_id"].where(table["clip_id"].notna(), table["source"])
    every, kept = _every_row(rows, table, gates), table[table["verdict"] == "kept"].copy()
    rejected = table[table["verdict"] == "rejected"].copy()
    return [
        every,
        _kept_rows(kept, gates, frames, fps, rights_required, windows_per_shot, never_again),
        _rejected_rows(rejected, table, gates),
    ]


def _every_row(rows: "pa.Table", table: "pd.DataFrame", gates: Gates) -> View:
    import great_expectations.expectations as gxe
    import pyarrow.compute as pc

    view = View("every row", table)
    for name in EVERY_NEEDS:
        view.add(f"{name} is there", gxe.ExpectColumnValuesToNotBeNull(column=name))
    view.add("clip_id is unique", gxe.ExpectColumnValuesToBeUnique(column="clip_id"))
    for name, shape in SHAPES.items():
        view.add(f"{name} has its form", gxe.ExpectColumnValuesToMatchRegex(column=name, regex=shape))
    for name, known in IN_SETS.items():
        view.add(
            f"{name} is one of {', '.join(map(str, known))}",
            gxe.ExpectColumnValuesToBeInSet(column=name, value_set=list(known)),
        )
    for column in COLUMNS:
        if (column.low, column.high) != (None, None):
            between = gxe.ExpectColumnValuesToBeBetween(column=column.name, min_value=column.low, max_value=column.high)
            view.add(f"{column.name} within its range", between)
    view.add("metadata is JSON", gxe.ExpectColumnValuesToBeJsonParseable(column="metadata"))
    view.add(
        "a shot ends after it starts",
        gxe.ExpectColumnPairValuesAToBeGreaterThanB(
            column_A="shot_end", column_B="shot_start", ignore_row_if="either_value_is_missing"
        ),
    )

    finite = True
    for column in (column.name for column in COLUMNS if column.type == "double"):
        finite = pc.and_(pc.fill_null(pc.is_finite(rows[column]), True), finite)
    view.holds("every number is finite", finite.to_numpy())
    fingerprint = pc.match_substring_regex(rows["fingerprint"], "^([0-9a-f]{16})+$")
    view.holds("fingerprint has its form", pc.fill_null(fingerprint, True).to_numpy())
    view.holds(
        "a clip lies inside its shot",
        ~(table["start"] < table["shot_start"] - ROUNDING)
        & ~(table["start"] + (table["frames"] - 1) / table["fps"] > table["shot_end"] + ROUNDING),
    )
    sizes = zip(rows["crop"].to_pylist(), rows["height"].to_pylist(), rows["width"].to_pylist(), strict=True)
    view.holds("crop lies inside the picture", [crop is None or _inside(crop, *size) for crop, *size in sizes])

    reached_scan, reached_pose = table["reached"].isin(["scan", "pose"]), table["reached"] == "pose"
    shot_only = [name for name in SCAN_SCORES if name not in OF_THE_SHOT]
    view.holds("a row that reached no scan has no score of it", reached_scan | table[shot_only].isna().all(axis=1))
    view.holds("a row without a pose has no score of one", reached_pose | table[list(POSE_SCORES)].isna().all(axis=1))
    scanned, posed = table[list(SCAN_SCORES)].notna().all(axis=1), table[list(ALWAYS_WITH_POSE)].notna().all(axis=1)
    a_window = reached_scan & table["start"].notna()  # a shot too short for one may be too short for a score
    view.holds("a window that was scanned has all scores of it", ~a_window | scanned)
    view.holds("a row with a pose has the scores that every pose has", ~reached_pose | posed)

    reasons = [found or [] for found in rows["reasons"].to_pylist()]
    first = [found[0] if found else None for found in reasons]
    view.holds(
        "reason is the first of reasons", [a == b for a, b in zip(first, rows["reason"].to_pylist(), strict=True)]
    )
    known = known_reasons(gates)
    view.holds("reasons are known", [known.issuperset(found) for found in reasons])
    reasons_agree, tiers_agree = judged_again(rows, gates)
    view.holds("reasons are those of the gates that fail", reasons_agree)
    view.holds("tier and missed are what the gates say", tiers_agree)
    return view


def _kept_rows(
    kept: "pd.DataFrame",
    gates: Gates,
    frames: int,
    fps: float,
    rights_required: Sequence[str],
    windows_per_shot: int,
    never_again: Collection[str],
) -> View:
    import great_expectations.expectations as gxe

    view = View("kept rows", kept)
    view.add("at least one clip is kept", gxe.ExpectTableRowCountToBeBetween(min_value=1))
    for name in KEPT_NEED:
        view.add(f"kept: {name} is there", gxe.ExpectColumnValuesToNotBeNull(column=name))
    for name in rights_required:
        view.add(f"kept: {name} is there (rights)", gxe.ExpectColumnValuesToNotBeNull(column=name))
    view.holds("kept: collected_at is a date", [text is None or is_date(text) for text in kept["collected_at"]])
    view.add("kept: no reason", gxe.ExpectColumnValuesToBeNull(column="reason"))
    exact = (
        ("kept: reached pose", "reached", "pose"),
        ("kept: frames as configured", "frames", frames),
        ("kept: frames stored", "stored_frames", frames),
        ("kept: fps as configured", "fps", fps),
    )
    for name, column, value in exact:
        view.add(name, gxe.ExpectColumnValuesToBeInSet(column=column, value_set=[value]))
    for column in dict.fromkeys(gate.column for gate in gates.gates if not gate.optional):
        view.add(f"kept: gated {column} is there", gxe.ExpectColumnValuesToNotBeNull(column=column))
    for gate in gates.gates:
        if (gate.min, gate.max) != (None, None):
            between = gxe.ExpectColumnValuesToBeBetween(column=gate.column, min_value=gate.min, max_value=gate.max)
            bounds = " to ".join("" if bound is None else f"{bound:g}" for bound in (gate.min, gate.max))
            view.add(f"kept: passes gate {gate.column} {bounds} ({gate.reason})".replace("  ", " "), between)

    view.add(
        "kept: group is the clip itself",
        gxe.ExpectColumnPairValuesToBeEqual(
            column_A="group", column_B="clip_id", ignore_row_if="either_value_is_missing"
        ),
    )
    view.add("kept: at most one of a group", gxe.ExpectColumnValuesToBeUnique(column="group"))
    of_the_shot = kept.groupby(["source_id", "shot"], dropna=False)["clip_id"].transform("size")
    view.holds("kept: no more clips of a shot than configured", of_the_shot <= windows_per_shot)
    places = kept.groupby(["shard", "offset"], dropna=False)["clip_id"].transform("size")
    view.holds("kept: no two clips in one place", (places == 1) | kept["shard"].isna())
    splits_of_source = kept.groupby("source_id", dropna=False)["split"].transform("nunique")
    view.holds("kept: clips of a source share a split", splits_of_source <= 1)
    splits = ["train", "val"] if kept["source_id"].nunique() >= SPLIT_SOURCES else ["train"]
    view.add(
        f"kept: there is {' and '.join(splits)}",
        gxe.ExpectColumnDistinctValuesToContainSet(column="split", value_set=splits),
    )
    view.holds("kept: its source was not forgotten or opted out", ~kept["source_id"].isin(set(never_again)))
    return view


def _rejected_rows(rejected: "pd.DataFrame", table: "pd.DataFrame", gates: Gates) -> View:
    import great_expectations.expectations as gxe
    import numpy as np

    view = View("rejected rows", rejected)
    view.add("rejected: has a reason", gxe.ExpectColumnValuesToNotBeNull(column="reason"))
    known = gxe.ExpectColumnValuesToBeInSet(column="reason", value_set=sorted(known_reasons(gates)))
    view.add("rejected: a known reason", known)
    for name in ("shard", "split", "tier"):
        view.add(f"rejected: has no {name}", gxe.ExpectColumnValuesToBeNull(column=name))
    faults = rejected["reason"].isin(FAULTS_WITH_TEXT)
    view.holds("rejected: what went wrong is said", ~faults | rejected["error"].notna())

    a_clip, reason = rejected["start"].notna(), rejected["reason"]
    named = rejected["group"].isin(table.loc[table["verdict"] == "kept", "clip_id"])
    view.holds("rejected: a duplicate clip names a kept one as its group", ~(a_clip & (reason == "duplicate")) | named)
    chosen = table[(table["verdict"] == "kept") | (table["reason"] == "duplicate")]
    shots = set(zip(chosen["source_id"], chosen["shot"], strict=True))
    better = [shot in shots for shot in zip(rejected["source_id"], rejected["shot"], strict=True)]
    view.holds("rejected: of a spare clip's shot another was chosen", (reason != "spare") | np.array(better, bool))
    copy = (table["reason"] == "duplicate") & table["start"].isna()
    originals = set(table.loc[~copy, "source_id"].dropna())
    a_copy = (reason == "duplicate") & ~a_clip
    view.holds("rejected: of a copied source the original is there", ~a_copy | rejected["source_id"].isin(originals))
    return view


def _inside(crop: list[int], height: int | None, width: int | None) -> bool:
    if len(crop) != 4 or None in (*crop, height, width):
        return False
    top, left, tall, wide = crop
    return min(top, left) >= 0 and min(tall, wide) > 0 and top + tall <= height and left + wide <= width
