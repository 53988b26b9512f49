"""The comparison as one HTML file: everything is inside it, nothing is fetched."""

import base64
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evaluation.comparison import Comparison
from evaluation.metrics.metric import ERROR, OK
from evaluation.metrics.registry import METRICS
from evaluation.summary import STANDARD_ERROR_NOTE, arrow, best_models, failures
from infra.commits import Commit

SHOWN_PAIRS = 40
LARGEST_BYTES = 3 * 2**20
PREVIEW_SHORT_SIDE, PREVIEW_CRF = 320, 26


def render(comparison: Comparison, plots: Mapping[str, str]) -> str:
    """The page as text. Videos above 3 MiB are shown as smaller previews, and only the first 40 pairs have players."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    best = best_models(comparison.summary)
    metric_ids = list(dict.fromkeys(row.metric_id for row in comparison.summary))
    metric_of = {row.metric_id: METRICS[row.metric] for row in comparison.summary}
    return environment.get_template("comparison.html").render(
        comparison=comparison,
        metrics=[_metric(metric_id, metric_of[metric_id]) for metric_id in metric_ids],
        cells={(row.metric_id, row.model): row for row in comparison.summary},
        best=best,
        note=STANDARD_ERROR_NOTE,
        plots=plots,
        rows=[_row(comparison, pair) for pair in comparison.pairs[:SHOWN_PAIRS]],
        hidden=max(0, len(comparison.pairs) - SHOWN_PAIRS),
        failures=failures(comparison.scores),
        number=_number,
    )


def _metric(metric_id: str, metric) -> dict[str, Any]:
    return {
        "id": metric_id,
        "name": metric.name.replace("_", " "),
        "arrow": arrow(metric),
        "unit": metric.unit,
        "definition": metric.definition,
        "source": metric.source,
        "direction": metric.direction,
        "target": metric.target,
    }


def _row(comparison: Comparison, pair) -> dict[str, Any]:
    """A pair's players and scores. A player without a video says why."""
    first = comparison.evaluations[0]
    scores: dict[str, dict[str, dict[str, Any]]] = {}
    for row in comparison.scores:
        if row["pair"] == pair.id:
            scores.setdefault(row["model"], {})[row["metric_id"]] = row

    def player(commit: Commit, title: str, name: str, **more) -> dict[str, Any]:
        return {
            "title": title,
            "source": _data(commit, name),
            "image": name.endswith(".png"),
            "scores": {},
            "reason": None,
            **more,
        }

    players = [
        player(first, "reference", f"references/{pair.id}.png"),
        player(first, "driving", f"drivings/{pair.id}.mp4"),
        player(first, "pose", f"poses/{pair.id}.mp4"),
    ]
    for model in comparison.models:
        commit, label = comparison.origin[model]
        mine = scores.get(model, {})
        reason = next((row["reason"] for row in mine.values() if row["status"] == ERROR), None)
        players.append(player(commit, model, f"videos/{label}/{pair.id}.mp4", scores=mine, reason=reason))
    values = {
        model: {metric_id: row["value"] for metric_id, row in by_metric.items() if row["status"] == OK}
        for model, by_metric in scores.items()
    }
    return {"pair": pair, "players": players, "values": values, "best": _best_of_pair(values)}


def _best_of_pair(values: Mapping[str, Mapping[str, float]]) -> dict[str, set[str]]:
    best: dict[str, set[str]] = {}
    for metric_id in {i for by_metric in values.values() for i in by_metric}:
        metric = METRICS[metric_id.partition("@")[0]]
        badness = {model: metric.badness(v[metric_id]) for model, v in values.items() if metric_id in v}
        if len(badness) > 1:
            best[metric_id] = {model for model, b in badness.items() if b == min(badness.values())}
    return best


def _data(commit: Commit, name: str) -> str | None:
    """A picture or video of the commit as a data URI; None if the commit has no such file."""
    if name not in commit.files:
        return None
    with commit.open(name) as file:
        content = file.read()
    if name.endswith(".mp4") and len(content) > LARGEST_BYTES:
        content = _preview(content)
    kind = "video/mp4" if name.endswith(".mp4") else "image/png"
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _preview(content: bytes) -> bytes:
    from model.video import frames, probe, resize, write

    with tempfile.TemporaryDirectory() as folder:
        large, small = Path(folder) / "large.mp4", Path(folder) / "small.mp4"
        large.write_bytes(content)
        info = probe(large)
        scale = min(1.0, PREVIEW_SHORT_SIDE / min(info.height, info.width))
        size = tuple(max(2, round(side * scale / 2) * 2) for side in (info.height, info.width))
        write(small, (resize(image, size) for _, image in frames(large)), info.fps, crf=PREVIEW_CRF)
        return small.read_bytes()


def _number(value: float | None, signed: bool = False) -> str:
    if value is None:
        return "–"
    text = f"{value:.2f}" if abs(value) >= 10 else f"{value:.3f}" if abs(value) >= 0.1 or value == 0 else f"{value:.2g}"
    return f"+{text}" if signed and value > 0 else text.replace("-", "−")
