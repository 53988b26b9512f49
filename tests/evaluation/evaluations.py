"""Evaluations written without generating or scoring anything."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from evaluation.metrics.registry import METRICS
from evaluation.pairs import Pair, write_pairs
from infra import commits, config
from infra.commits import Commit
from model import video

CONFIG = config.load("demo")
CURVES = ("model", "pair", "metric", "metric_id", "frame", "value", "seed")
COSTS = ("model", "pair", "seconds", "peak_mib", "device", "nfe", "seed")


def pair(name: str, driving: str | None = None, prompt: str = "", **strata) -> Pair:
    return Pair(name, "different_source", f"reference of {name}", driving or name, prompt, strata)


def scored(model: str, pair: str, value: float | None, metric: str = "psnr", reason: str = "no ground truth") -> dict:
    status = "error" if reason == "broken" else "not_computable"
    return {
        "model": model,
        "pair": pair,
        "kind": "different_source",
        "metric": metric,
        "metric_id": METRICS[metric].identify(CONFIG),
        "value": value,
        "status": status if value is None else "ok",
        "reason": reason if value is None else None,
    }


def dot(frames: int, size: tuple[int, int] = (32, 48)) -> np.ndarray:
    """(frames, h, w, 3): a white bar that moves to the right."""
    images = np.zeros((frames, *size, 3), np.uint8)
    for number, image in enumerate(images):
        image[:, number * size[1] // frames :][:, :4] = 255
    return images


def written(
    folder: Path,
    models: Sequence[str],
    pairs: Sequence[Pair],
    scores: Sequence[dict],
    *,
    videos: dict[str, tuple[np.ndarray, float]] | None = None,
    curves: Sequence[tuple] = (),
    costs: Sequence[tuple] = (),
    sets: Sequence[dict] = (),
) -> Commit:
    """``videos``: frames and fps by name in the commit, without ".mp4"; ``curves``, ``costs``: rows."""
    meta = {"models": list(models), "metrics": ["psnr"], "notices": []}
    with commits.write(folder, "evaluation", meta=meta) as draft:
        write_pairs(draft / "pairs.parquet", list(pairs))
        pq.write_table(pa.Table.from_pylist(list(scores)), draft / "scores.parquet")
        for name, columns, rows in (("curves", CURVES, curves), ("costs", COSTS, costs)):
            if rows:
                table = pa.Table.from_pylist([dict(zip(columns, row, strict=False)) for row in rows])
                pq.write_table(table, draft / f"{name}.parquet")
        if sets:
            pq.write_table(pa.Table.from_pylist(list(sets)), draft / "sets.parquet")
        for name, (frames, fps) in (videos or {}).items():
            target = draft / f"{name}.mp4"
            target.parent.mkdir(parents=True, exist_ok=True)
            video.write(target, frames, fps, metadata={"title": name})
    return commits.read(folder)
