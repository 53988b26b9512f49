"""`steadydancer gate`: a dataset judged again by other gates, from its manifest and shards alone."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from infra import commits
from infra.commits import Commit
from infra.errors import SteadyDancerError
from pipelines import dataset, publish
from pipelines import gates as rules
from pipelines.columns import COLUMNS, FAULTS
from pipelines.forget import home_of, opted_out, without
from pipelines.gates import Gates, judge
from pipelines.ingest import rights
from pipelines.work.stage import Row

JUDGED_AGAIN = ("no_body", "not_scored", "not_stored", "spare", "duplicate")
"""Reasons no gate gives which, for a clip, depend on the gates all the same."""
OUTPUT = dict.fromkeys(column.name for column in COLUMNS if column.role == "output")


def regate(committed: Commit, gates: Gates, out: str | Path) -> Commit:
    """The dataset that ``gates`` make of a committed one, at ``out``: every row with its new verdict, and shards with
    the stored clips that are still kept. See :func:`judged_again` for clips that are not stored. What the opt-out list
    of the dataset's work folder names is left out.

    Raises SteadyDancerError where no clip is kept or ``out`` holds an artifact, DatasetRefused where a rule is broken;
    then nothing is committed.
    """
    home = home_of(committed)
    listed = opted_out(home) if home is not None else set()
    rows = judged_again(without(listed, dataset.manifest_of(committed))[0], gates)
    counts = dataset.funnel(rows)
    if not counts["kept"]:
        reasons = ", ".join(f"{number} {reason}" for reason, number in counts["rejected"].items())
        raise SteadyDancerError(
            f"No clip of {committed.uri} is kept: {reasons}. Nothing was committed.", "Loosen the gates."
        )
    return publish.publish(
        out,
        rows,
        gates,
        dataset.stored_members(committed.uri),
        committed.config,
        parents=[committed],
        meta={key: value for key, value in committed.meta.items() if key not in ("gates", "funnel")},
        previous=committed,
        never_again=set(filter(rights.is_hash, listed)),
    )


def judged_again(rows: Sequence[Row], gates: Gates) -> list[Row]:
    """Rows of a manifest with the verdicts of other gates; what is rejected loses its output columns.

    A clip that passes now and is not stored is rejected: as ``not_scored`` where it was not measured so far, as
    ``spare`` or ``duplicate`` where it was that and the clip it gave way to is still kept, else as ``not_stored``.
    """
    fresh = [row | judge(row | {"fault": _fault(row)}, gates) for row in rows]
    was = {row["clip_id"]: row["reason"] for row in rows}
    passing = {row["clip_id"]: row for row in fresh if row["verdict"] == "kept"}
    kept = {clip for clip, row in passing.items() if row["shard"] is not None}
    duplicate = {clip for clip, row in passing.items() if was[clip] == "duplicate" and row["group"] in kept}
    shots = {_shot(passing[clip]) for clip in kept | duplicate}
    spare = {clip for clip, row in passing.items() if was[clip] == "spare" and _shot(row) in shots}

    def settled(row: Row) -> Row:
        clip = row["clip_id"]
        if clip in kept:
            return row
        if clip in passing:
            reason = "duplicate" if clip in duplicate else "spare" if clip in spare else "not_stored"
            row = row | judge({"fault": reason}, gates)
        if was[clip] in JUDGED_AGAIN and row["reason"] != was[clip]:
            row = row | {"error": None}
        return row | OUTPUT | {"group": row["group"] if row["reason"] == "duplicate" else None}

    return [settled(row) for row in fresh]


def _fault(row: Row) -> str | None:
    """Why a row is rejected whatever the gates are. A copy of a whole source has no span."""
    reason = row["reason"]
    lasting = reason in FAULTS and (reason not in JUDGED_AGAIN or (reason == "duplicate" and row["start"] is None))
    return reason if lasting else None


def _shot(row: Row) -> tuple[str, int]:
    return row["source_id"], row["shot"]


def regate_dataset(place: str, gates: str, out: str) -> None:
    """The command: :func:`regate` by a preset or file of gates; says what came of it, and what it takes to have more.

    Raises UsageError (gates), NotCommitted, SteadyDancerError.
    """
    from rich.console import Console

    from pipelines.curate import show

    judging, committed = rules.load(gates), commits.read(place)
    if committed.kind != "dataset":
        raise SteadyDancerError(f"{place} is a commit of kind {committed.kind}, a dataset is expected.")
    made, console = regate(committed, judging, out), Console()
    show(made, console)
    if left_out := len(dataset.manifest_of(committed)) - made.meta["funnel"]["found"]:
        console.print(f"{left_out} left out: the work folder's opt-out list names them.", soft_wrap=True)
    rejected = made.meta["funnel"]["rejected"]
    told = {"not_scored": "were measured by their pictures alone", "not_stored": "were never stored"}
    for reason, why in told.items():
        if number := rejected.get(reason):
            console.print(f"{number} more would pass these gates and {why} ({reason}).", soft_wrap=True)
    if rejected.keys() & told.keys():
        command = f"steadydancer curate curate.gates={shlex.quote(gates)}"
        console.print(f"To have them too, with the config and work folder of {place}: {command}", soft_wrap=True)
