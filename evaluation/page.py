"""The comparison as one HTML file: everything is inside it, nothing is fetched."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evaluation.comparison import Comparison
from evaluation.media import Media
from evaluation.metrics.registry import METRICS
from evaluation.page_pairs import pairs_of, strata_of
from evaluation.page_statistics import costs_of, gains_of
from evaluation.set_tables import by_metric, set_rows
from evaluation.summary import INTERVAL_NOTE, arrow, best_models, failures, without_values

WEB = Path(__file__).parent / "web"
SHOWN_PAIRS = 40
INPUTS = 3
"""The reference, the driving video and the pose."""


def render(comparison: Comparison, plots: Mapping[str, str]) -> str:
    """The page as text. Only the first 40 pairs have players; :mod:`evaluation.media` says how large those are."""
    shown = min(SHOWN_PAIRS, len(comparison.pairs))
    media = Media(shown * (INPUTS + len(comparison.models)))
    metrics = _metrics(comparison)
    pairs = pairs_of(comparison, media, shown)
    valued = {row.metric_id for row in comparison.summary if row.n}
    data = {
        "models": comparison.models,
        "metrics": [metric for metric in metrics if metric["id"] in valued] or metrics,
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
        without=without_values(comparison.scores),
        sets=by_metric(set_rows(comparison), comparison.models),
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
