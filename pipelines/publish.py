"""A dataset from rows and clips: shards, manifest, checks and report, committed together or not at all."""

import dataclasses
import json
import shutil
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from infra import commits
from infra.commits import Commit
from pipelines import dataset
from pipelines.checks import validation
from pipelines.gates import Gates
from pipelines.report import page
from pipelines.shards import Members
from pipelines.work.stage import Row

REPORT, CHECKS, DATA_DOCS = "report.html", "validation.json", "data_docs"


def publish(
    uri: str | Path,
    rows: Iterable[Row],
    gates: Gates,
    members: Callable[[Row], Members],
    values: dict[str, Any],
    *,
    parents: Sequence[Commit] = (),
    meta: dict[str, Any] | None = None,
    previous: Commit | None = None,
    never_again: Collection[str] = (),
    preview: Callable[[str], Path | None] = lambda clip: None,
    costs: Sequence[tuple] = (),
    refused: Path | None = None,
    scratch: Path | None = None,
    replace: bool = False,
) -> Commit:
    """The committed dataset of judged ``rows``, with the clips that ``members`` gives of the kept ones.

    ``values`` are the config's sections that identify a dataset (clip, pose, rights, curate, caption). ``previous`` is
    the dataset it follows, against which drift is told; ``never_again`` are source_ids that must not be in it. Raises
    DatasetRefused naming the rules that are broken; then nothing is committed, and its manifest and checks lie in the
    folder ``refused``. What is bound for a store is drafted in ``scratch``.
    """
    import pyarrow.parquet as pq

    clip, curate = values["clip"], values["curate"]
    meta = {**(meta or {}), "gates": json.loads(json.dumps(dataclasses.asdict(gates)))}
    with commits.write(
        uri,
        "dataset",
        config=values,
        parents=parents,
        meta=meta,
        replace=replace,
        about=(REPORT, CHECKS, DATA_DOCS),
        scratch=scratch,
    ) as folder:
        rows = dataset.write_shards(folder / dataset.SHARDS, rows, members, curate["shard_clips"], curate["shard_mb"])
        meta["funnel"] = dataset.funnel(rows)
        dataset.write_manifest(folder / dataset.MANIFEST, rows)
        table = pq.read_table(folder / dataset.MANIFEST)
        checks = validation.validate(
            table,
            gates,
            frames=clip["frames"],
            fps=clip["fps"],
            rights_required=values["rights"]["required"],
            windows_per_shot=curate["windows_per_shot"],
            shards_folder=folder / dataset.SHARDS,
            previous=None if previous is None else dataset.manifest_of(previous),
            never_again=never_again,
            data_docs=folder / DATA_DOCS,
        )
        (folder / CHECKS).write_text(json.dumps(checks, indent=1))
        try:
            validation.refuse_if_broken(checks)
        except validation.DatasetRefused as error:
            if refused is None:
                raise
            shutil.rmtree(refused, ignore_errors=True)
            refused.mkdir(parents=True)
            shutil.copytree(folder / DATA_DOCS, refused / DATA_DOCS)
            for name in (CHECKS, dataset.MANIFEST):
                shutil.copy(folder / name, refused)
            raise validation.DatasetRefused(error.args[0], f"Look at {refused / DATA_DOCS / 'index.html'}.") from None
        page.write(folder / REPORT, table, gates, checks, preview, costs=costs)
    return commits.read(uri)
