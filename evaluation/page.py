"""The comparison as one HTML file: everything is inside it, nothing is fetched."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evaluation.comparison import Comparison
from evaluation.media import Media
from evaluation.metrics.registry import METRICS
from evaluation.page_pairs import pairs_of, rows_of, strata_of
from evaluation.page_statistics import costs_of, gains_of
from evaluation.summary import INTERVAL_NOTE, arrow, best_models, failures

WEB = Path(__file__).parent / "web"
SHOWN_PAIRS = 40
INPUT_VIDEOS = 2
"""The driving video and the pose."""


def render(comparison: Comparison, plots: Mapping[str, str]) -> str:
    """The page as text. Only the first 40 pairs have players; :mod:`evaluation.media` says how large those are."""
    shown = min(SHOWN_PAIRS, len(comparison.pairs))
    media = Media(shown * (INPUT_VIDEOS + len(comparison.models)))
    metrics = _metrics(comparison)
    pairs = pairs_of(comparison, media, shown)
    data = {
        "models": comparison.models,
        "metrics": metrics,
        "pairs": pairs,
        "strata": strata_of(pairs),
        "gains": gains_of(comparison, pairs),
        "costs": costs_of(pairs, comparison.models),
    }
    return fill(
        "comparison.html",
        comparison=comparison,
        data=data,
        media=media.uris,
        metrics=metrics,
        sets=_sets(comparison),
        note=INTERVAL_NOTE,
        plots=plots,
        hidden=len(comparison.pairs) - shown,
        failures=failures(comparison.scores),
    )


def fill(template: str, **content: Any) -> str:
    """A template of the folder ``web``. Text is escaped; data goes through ``tojson``, which no text can leave."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(WEB), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(template).render(**content)


def _metrics(comparison: Comparison) -> list[dict[str, Any]]:
    """What the page says of each metric: its definition, and by model the mean with its interval."""
    best = best_models(comparison.summary)
    found: dict[str, dict[str, Any]] = {}
    for row in comparison.summary:
        metric = METRICS[row.metric]
        entry = found.setdefault(
            row.metric_id,
            {
                "id": row.metric_id,
                "name": row.metric.replace("_", " "),
                "arrow": arrow(metric),
                "unit": metric.unit,
                "direction": metric.direction,
                "target": metric.target,
                "definition": metric.definition,
                "source": metric.source,
                "cells": [None] * len(comparison.models),
            },
        )
        entry["cells"][comparison.models.index(row.model)] = {
            "mean": row.mean,
            "low": row.low,
            "high": row.high,
            "n": row.n,
            "asked": row.asked,
            "best": row.model in best.get(row.metric_id, ()),
            "against": comparison.models.index(row.against) if row.against is not None else None,
            "p": row.p_holm,
        }
    return list(found.values())


def _sets(comparison: Comparison) -> dict[tuple[str, str], list[dict[str, Any] | None]]:
    """What is said of all videos of a kind together (Fréchet distances and the like), by metric id and kind, by model.

    Each is over the pairs of its own run, whether the others have them or not.
    """
    found: dict[tuple[str, str], list[dict[str, Any] | None]] = {}
    for number, row in rows_of(comparison, "sets.parquet"):
        found.setdefault((row["metric_id"], row["kind"]), [None] * len(comparison.models))[number] = row
    return found
