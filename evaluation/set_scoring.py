"""The set metrics of every model: features of all its videos, kept video by video, compared at the end."""

import uuid
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from evaluation.metrics.evidence import Evidence, NotComputable
from evaluation.metrics.metric import ERROR
from evaluation.metrics.sets.registry import SET_METRICS
from evaluation.metrics.sets.set_metric import Rows, SetMetric
from evaluation.tasks import Failure

SCHEMA = pa.schema(
    [
        ("model", pa.string()),
        ("kind", pa.string()),
        ("metric", pa.string()),
        ("metric_id", pa.string()),
        ("weights", pa.string()),
        ("value", pa.float64()),
        ("standard_error", pa.float64()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("videos", pa.int32()),
        ("n_real", pa.int32()),
        ("n_generated", pa.int32()),
    ]
)
"""One row per model, kind of pair and set metric: same-source and different-source videos are never pooled."""


class Kept(NamedTuple):
    """What a set metric needs of one video, or why it has nothing."""

    rows: Rows | None
    fps: float
    size: tuple[int, int]
    reason: str | None


def read(path: Path) -> Kept | None:
    """What :func:`keep` wrote; None where it is not there, or cut short."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            reason = str(arrays["reason"])
            rows = None if reason else (arrays["real"], arrays["generated"])
            return Kept(rows, float(arrays["fps"]), tuple(map(int, arrays["size"])), reason or None)
    except (FileNotFoundError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error):
        return None


def keep(metric: SetMetric, evidence: Evidence, path: Path) -> None:
    """Writes the video's rows, or why there are none, to ``path``."""
    none, reason = np.empty((0, 0), np.float32), ""
    try:
        real, generated = metric.rows(evidence)
    except NotComputable as problem:
        real, generated, reason = none, none, str(problem)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{uuid.uuid4().hex}")
    about = {"fps": evidence.fps, "size": evidence.generated.shape[1:3], "reason": reason}
    with draft.open("wb") as file:
        np.savez(file, real=real, generated=generated, **about)
    draft.replace(path)


def score_sets(
    kept: Mapping[tuple[str, str], Mapping[str, Path | Failure]], kinds: Mapping[str, str], weights: Mapping[str, str]
) -> pa.Table:
    """A table of :data:`SCHEMA` from the files of every (model, pair id): set metric -> file, or how it broke there.
    ``kinds`` is by pair id, ``weights`` by metric. A video without rows is left out; where none has any, the first
    reason is told. There is no value where the metric broke on a video, which the next run tries again.
    """
    rows = []
    groups = dict.fromkeys((model, kinds[pair]) for model, pair in kept)
    for (model, kind), name in ((group, name) for group in groups for name in weights):
        files = [paths.get(name) for (m, pair), paths in sorted(kept.items()) if (m, kinds[pair]) == (model, kind)]
        broken = [file.reason for file in files if isinstance(file, Failure)]
        videos = [read(file) for file in files if isinstance(file, Path)]
        about = {"model": model, "kind": kind, "metric": name, "weights": weights[name]}
        row = about | _answer(SET_METRICS[name], [video for video in videos if video is not None])
        if broken:
            row |= {"value": None, "standard_error": None, "status": ERROR}
            row["reason"] = f"{len(broken)} of {len(files)} videos: {broken[0]}"
        rows.append(row)
    return pa.Table.from_pylist(rows, SCHEMA)


def _answer(metric: SetMetric, videos: Sequence[Kept]) -> dict:
    there = [video for video in videos if video.rows is not None]
    score = metric.compute([video.rows for video in there])
    reason = score.reason
    if not there:
        reason = next((video.reason for video in videos), "not one video could be measured")
    return {
        "metric_id": metric.identify(score, {video.fps for video in there}, {video.size for video in there}),
        "value": score.value,
        "standard_error": score.standard_error,
        "status": score.status if videos else ERROR,
        "reason": reason,
        "videos": score.videos,
        "n_real": score.n_real,
        "n_generated": score.n_generated,
    }
