"""Great Expectations on manifest and shards: whether the dataset may be committed."""

import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.errors import SteadyDancerError
from pipelines.checks import datadocs
from pipelines.checks.drift import drift_views
from pipelines.checks.rules import View, manifest_views
from pipelines.checks.shard_rules import shards_view
from pipelines.columns import COLUMNS, schema
from pipelines.gates import Gates
from pipelines.work.stage import Row

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_NAMED = 5


class DatasetRefused(SteadyDancerError):
    """The dataset breaks a rule and is not committed."""


def validate(
    rows: "Sequence[Row] | pa.Table",
    gates: Gates,
    *,
    frames: int,
    fps: float,
    rights_required: Sequence[str] = (),
    windows_per_shot: int = 1,
    shards_folder: Path | None = None,
    previous: "Sequence[Row] | pa.Table | None" = None,
    never_again: Collection[str] = (),
    data_docs: Path | None = None,
) -> list[dict[str, Any]]:
    """What every rule says: ``rule``, ``view``, ``severity``, ``rows``, ``passed`` and ``broken_by``, the clip ids (the
    scores, of drift) that break it.

    ``rows`` is the manifest, ``shards_folder`` what was written of it. ``previous`` is the manifest of the dataset
    before this one: drift against it is a warning; what was opted out there must not be kept here, nor must
    ``never_again`` (source_ids that were forgotten). ``data_docs``: a folder for the pages of Great Expectations.
    """
    table = arrow_table(rows)
    before = None if previous is None else arrow_table(previous)
    opted_out = set(never_again) | (set() if before is None else _opted_out(before))
    views = manifest_views(
        table,
        gates,
        frames=frames,
        fps=fps,
        rights_required=rights_required,
        windows_per_shot=windows_per_shot,
        never_again=opted_out,
    )
    if shards_folder is not None:
        views.append(shards_view(shards_folder, table, frames))
    if before is not None:
        views += drift_views(table, before)
    outcomes = [(view, _run(view)) for view in views]
    if data_docs is not None:
        datadocs.write(data_docs, outcomes)
    return [line for view, outcome in outcomes for line in _lines(view, outcome)]


def refuse_if_broken(results: Sequence[dict[str, Any]]) -> None:
    """Raises DatasetRefused naming every critical rule that is broken and the rows that break it."""
    broken = [result for result in results if not result["passed"] and result["severity"] == "critical"]
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


def arrow_table(rows: "Sequence[Row] | pa.Table") -> "pa.Table":
    """A manifest as one table with the columns of :mod:`pipelines.columns`; a column that is not there is null."""
    import pyarrow as pa

    if not isinstance(rows, pa.Table):
        columns = {column.name: [row.get(column.name) for row in rows] for column in COLUMNS}
        return pa.table(columns, schema=schema())
    missing = {f.name: pa.nulls(rows.num_rows, f.type) for f in schema() if f.name not in rows.column_names}
    for name, column in missing.items():
        rows = rows.append_column(name, column)
    return rows.select(schema().names).cast(schema())


def _opted_out(rows: "pa.Table") -> set[str]:
    import pyarrow.compute as pc

    return set(rows.filter(pc.equal(rows["reason"], "opted_out"))["source_id"].to_pylist()) - {None}


def _run(view: View):
    """Great Expectations' verdict on a view. Raises RuntimeError where a rule could not be checked."""
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("dataset").add_dataframe_asset(view.name)
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": view.table})
    for rule in view.rules:
        rule.expectation.meta = {"rule": rule.name}
        rule.expectation.severity = rule.severity

    def outcome_of(rules, **result_format):
        suite = gx.ExpectationSuite(name=view.name, expectations=[rule.expectation for rule in rules])
        outcome = batch.validate(suite, result_format=result_format)
        for result in outcome.results:
            if (result.exception_info or {}).get("raised_exception") is not False:
                raise RuntimeError(f"Great Expectations could not check {_rule(result)!r}: {result.exception_info}")
        return outcome

    outcome = outcome_of(view.rules, result_format="BASIC")
    broken = {_rule(result) for result in outcome.results if not result.success}
    if broken:  # all rows are named of these alone: naming costs more than judging
        again = outcome_of(
            [rule for rule in view.rules if rule.name in broken],
            result_format="COMPLETE",
            unexpected_index_column_names=[view.key],
            return_unexpected_index_query=False,
        )
        named = {_rule(result): result for result in again.results}
        outcome.results = [named.get(_rule(result), result) for result in outcome.results]
    return outcome


def _rule(result) -> str:
    return result.expectation_config.meta["rule"]


def _lines(view: View, outcome) -> list[dict[str, Any]]:
    results = {_rule(result): result for result in outcome.results}
    lines = []
    for rule in view.rules:
        result = results[rule.name]
        keys = [entry[view.key] for entry in result.result.get("unexpected_index_list") or []]
        lines.append(
            {
                "rule": rule.name,
                "view": view.name,
                "severity": rule.severity,
                "rows": len(view.table),
                "passed": bool(result.success),
                "broken_by": [str(key) for key in keys],
            }
        )
    return lines
