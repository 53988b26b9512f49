"""Plots as SVG text whose ink is ``currentColor``, so that they follow a page's light or dark colours."""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from evaluation.metrics.registry import METRICS
from evaluation.summary import SummaryRow, arrow

_INK = "#010203"  # matplotlib knows no currentColor; no other colour of ours is this one
WIDTH = 12.5  # inches, of every plot, so that their text has one size on the page
COLOURS = ("#8a8f98", "#3d8bd4", "#e08a1e", "#2ca58d", "#b565c4", "#d1495b")


def draw_metrics(summary: Sequence[SummaryRow], models: Sequence[str]) -> str:
    """One panel per metric that has a value: mean and interval over driving videos by model."""
    metric_ids = list(dict.fromkeys(row.metric_id for row in summary if row.n))
    metric_ids = metric_ids or list(dict.fromkeys(row.metric_id for row in summary))
    columns = min(len(metric_ids), 5)
    rows = -(-len(metric_ids) // columns)
    with _figure(rows, columns, (WIDTH, 2.5 * rows)) as (figure, axes):
        for axis, metric_id in zip(axes, metric_ids, strict=False):
            points = {row.model: row for row in summary if row.metric_id == metric_id}
            metric = METRICS[next(iter(points.values())).metric]
            for place, model in enumerate(models):
                row = points[model]
                if row.mean is None:
                    axis.text(place, 0.5, "–", ha="center", transform=axis.get_xaxis_transform(), color=_INK)
                    continue
                colour = COLOURS[place % len(COLOURS)]
                reach = None if row.low is None else [[row.mean - row.low], [row.high - row.mean]]
                axis.errorbar(place, row.mean, yerr=reach, fmt="o", ms=7, color=colour, capsize=3)
            if metric.target is not None:
                axis.axhline(metric.target, color=_INK, lw=0.8, ls=":")
            axis.set_xticks(range(len(models)), models, rotation=35, ha="right", fontsize=8)
            axis.set_xlim(-0.5, len(models) - 0.5)
            unit = f" ({metric.unit})" if metric.unit else ""
            axis.set_title(f"{metric.name.replace('_', ' ')} {arrow(metric)}{unit}", fontsize=9)
        return _svg(figure)


def draw_losses(losses: Mapping[str, Sequence[tuple[int, float]]]) -> str:
    """One panel per stage: loss by step, and its moving mean over a tenth of the stage."""
    with _figure(1, len(losses), (WIDTH, 2.5)) as (figure, axes):
        for place, (axis, (stage, curve)) in enumerate(zip(axes, losses.items(), strict=True)):
            steps, values = np.array(curve, np.float64).T
            width = max(1, len(values) // 10)
            smooth = np.convolve(values, np.ones(width) / width, "valid")
            colour = COLOURS[(place + 1) % len(COLOURS)]
            axis.plot(steps, values, color=colour, alpha=0.35, lw=1)
            axis.plot(steps[width - 1 :], smooth, color=colour, lw=1.8)
            axis.set_title(f"{stage}: loss by step", fontsize=9)
        return _svg(figure)


@contextmanager
def _figure(rows: int, columns: int, size: tuple[float, float]) -> Iterator[tuple[Any, list]]:
    """A figure with ``rows`` x ``columns`` axes in our ink, under settings that give the same bytes each time."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    plain = {"svg.fonttype": "none", "svg.hashsalt": "steadydancer", "font.family": "sans-serif"}
    with rc_context({**plain, "text.parse_math": False}):  # a $ in a name is a $
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasSVG(figure)
        axes = list(figure.subplots(rows, columns, squeeze=False).flat)
        for axis in axes:
            axis.set_facecolor("none")
            axis.spines[["top", "right"]].set_visible(False)
            axis.spines[["left", "bottom"]].set_color(_INK)
            axis.tick_params(colors=_INK, labelsize=8)
            axis.title.set_color(_INK)
            axis.grid(axis="y", color=_INK, alpha=0.12)
        figure.patch.set_alpha(0)
        yield figure, axes


def _svg(figure) -> str:
    for axis in figure.axes:
        if not axis.has_data() and not axis.texts:
            axis.set_visible(False)
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    svg = text.getvalue()
    return re.sub(re.escape(_INK), "currentColor", svg[svg.index("<svg") :])
