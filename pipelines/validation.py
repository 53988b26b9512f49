"""Great Expectations on the manifest: whether the dataset may be committed."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from infra.errors import SteadyDancerError
from pipelines.columns import COLUMNS, FAULTS
from pipelines.gates import Gate
from pipelines.stage import Row

if TYPE_CHECKING:
    import pandas

KEPT_NEED = ("start", "frames", "fps", "width", "height", "split", "caption", "bucket", "stored_frames")
KEPT_NEED += ("shard", "offset", "bytes", "sha256")
ROWS_NAMED = 5


class DatasetRefused(SteadyDancerError):
    """The dataset breaks a rule and is not committed."""


def rules(gates: Sequence[Gate], frames: int, fps: float) -> dict[str, dict[str, Any]]:
    """Rule name -> expectation, for three views of the manifest: all rows, kept rows, rejected rows."""
    import great_expectations.expectations as gxe

    every = {
        "clip_id is there": gxe.ExpectColumnValuesToNotBeNull(column="clip_id"),
        "clip_id is unique": gxe.ExpectColumnValuesToBeUnique(column="clip_id"),
        "source_id is a SHA-256": gxe.ExpectColumnValuesToMatchRegex(column="source_id", regex="^[0-9a-f]{64}$"),
        "source is a relative path": gxe.ExpectColumnValuesToNotMatchRegex(column="source", regex="^/"),
        "verdict is kept or rejected": gxe.ExpectColumnValuesToBeInSet(
            column="verdict", value_set=["kept", "rejected"]
        ),
        **{
            f"{c.name} within its range": gxe.ExpectColumnValuesToBeBetween(
                column=c.name, min_value=c.low, max_value=c.high
            )
            for c in COLUMNS
            if (c.low, c.high) != (None, None)
        },
    }
    kept = {
        "at least one clip is kept": gxe.ExpectTableRowCountToBeBetween(min_value=1),
        "kept: no reason": gxe.ExpectColumnValuesToBeNull(column="reason"),
        **{f"kept: {name} is there": gxe.ExpectColumnValuesToNotBeNull(column=name) for name in KEPT_NEED},
        "kept: frames as configured": gxe.ExpectColumnValuesToBeInSet(column="frames", value_set=[frames]),
        "kept: frames stored": gxe.ExpectColumnValuesToBeInSet(column="stored_frames", value_set=[frames]),
        "kept: fps as configured": gxe.ExpectColumnValuesToBeInSet(column="fps", value_set=[fps]),
        "kept: bucket is HEIGHTxWIDTH": gxe.ExpectColumnValuesToMatchRegex(
            column="bucket", regex=r"^[1-9]\d*x[1-9]\d*$"
        ),
    }
    for gate in gates:
        name = f"kept: passes gate {gate.column} ({gate.reason})"
        if (gate.min, gate.max) == (None, None):
            kept[name] = gxe.ExpectColumnValuesToNotBeNull(column=gate.column)
        else:
            kept[name] = gxe.ExpectColumnValuesToBeBetween(column=gate.column, min_value=gate.min, max_value=gate.max)
    reasons = sorted({*FAULTS, *(gate.reason for gate in gates)})
    rejected = {
        "rejected: has a reason": gxe.ExpectColumnValuesToNotBeNull(column="reason"),
        "rejected: a known reason": gxe.ExpectColumnValuesToBeInSet(column="reason", value_set=reasons),
        "rejected: is in no shard": gxe.ExpectColumnValuesToBeNull(column="shard"),
    }
    return {"every row": every, "kept rows": kept, "rejected rows": rejected}


def validate(rows: Sequence[Row], gates: Sequence[Gate], frames: int, fps: float) -> list[dict[str, Any]]:
    """What every rule says of the manifest: ``rule``, ``view``, ``rows``, ``passed``, ``broken_by`` (clip ids)."""
    import pandas as pd

    table = pd.DataFrame([{column.name: row.get(column.name) for column in COLUMNS} for row in rows])
    views = {
        "every row": table,
        "kept rows": table[table["verdict"] == "kept"],
        "rejected rows": table[table["verdict"] == "rejected"],
    }
    return [
        line
        for view, expectations in rules(gates, frames, fps).items()
        for line in _run(view, views[view], expectations)
    ]


def refuse_if_broken(results: Sequence[dict[str, Any]]) -> None:
    """Raises DatasetRefused naming every broken rule and the rows that break it."""
    broken = [result for result in results if not result["passed"]]
    if not broken:
        return
    lines = []
    for result in broken:
        clips = result["broken_by"]
        more = f" and {len(clips) - ROWS_NAMED} more" if len(clips) > ROWS_NAMED else ""
        named = f": clips {', '.join(clips[:ROWS_NAMED])}{more}" if clips else f" ({result['rows']} rows)"
        lines.append(f"  {result['rule']}{named}")
    raise DatasetRefused(
        "The dataset was not committed, it breaks these rules:\n" + "\n".join(lines),
        "Look these clips up by their units or gates; nothing was written.",
    )


def _run(view: str, table: "pandas.DataFrame", expectations: dict[str, Any]) -> list[dict[str, Any]]:
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    source = context.data_sources.add_pandas("manifest")
    batch = source.add_dataframe_asset(view).add_batch_definition_whole_dataframe("all").get_batch({"dataframe": table})
    suite = gx.ExpectationSuite(name=view, expectations=[])
    for name, expectation in expectations.items():
        expectation.meta = {"rule": name}
        suite.expectations.append(expectation)
    outcome = batch.validate(
        suite, result_format={"result_format": "COMPLETE", "unexpected_index_column_names": ["clip_id"]}
    )
    lines = []
    for result in outcome.results:
        rule = result.expectation_config.meta["rule"]
        if (result.exception_info or {}).get("raised_exception") is True:
            raise RuntimeError(
                f"Great Expectations could not check {rule!r}: {result.exception_info['exception_message']}"
            )
        clips = [entry["clip_id"] for entry in result.result.get("unexpected_index_list") or []]
        lines.append(
            {"rule": rule, "view": view, "rows": len(table), "passed": bool(result.success), "broken_by": clips}
        )
    return sorted(lines, key=lambda line: list(expectations).index(line["rule"]))
