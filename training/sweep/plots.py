"""The curves of a sweep as SVG text whose ink is ``currentColor``: they follow a page's light or dark colours."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from infra.commits import Commit

Curve = tuple[np.ndarray, np.ndarray]
"""Steps and losses."""


@dataclass(frozen=True)
class Curves:
    validation: Curve
    training: Curve


_INK = "#010203"  # matplotlib knows no currentColor; no other colour of ours is this one
COLOURS = ("#3d8bd4", "#e08a1e", "#2ca58d", "#b565c4", "#d1495b", "#7a8b2a")
"""Of the best runs, in order; the others are grey."""
OTHERS = "#8a8f98"


def read_curves(commit: Commit) -> Curves:
    """Of a stage's commit. Raises SteadyDancerError, or what pyarrow does of a damaged file (ValueError, KeyError)."""
    return Curves(_curve(commit, "validation.parquet"), _curve(commit, "history.parquet"))


def draw_curves(best_first: Sequence[Curves]) -> str:
    """Validation loss, and training loss as its moving mean over a tenth of the stage, by step."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogFormatter

    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "steadydancer", "font.family": "sans-serif"}):
        figure = Figure(figsize=(12.5, 4))
        FigureCanvasSVG(figure)
        axes = figure.subplots(1, 2, gridspec_kw={"left": 0.05, "right": 0.99, "bottom": 0.08, "top": 0.92})
        for axis, title in zip(axes, ("validation loss by step", "training loss by step, moving mean"), strict=True):
            axis.set_title(title, fontsize=10, color=_INK)
            axis.set_facecolor("none")
            axis.spines[["top", "right"]].set_visible(False)
            axis.spines[["left", "bottom"]].set_color(_INK)
            axis.tick_params(which="both", colors=_INK, labelsize=8)
            axis.grid(axis="y", color=_INK, alpha=0.12)
        for place, curves in reversed(list(enumerate(best_first))):  # the best are drawn over the others
            named = place < len(COLOURS)
            style = {"color": COLOURS[place] if named else OTHERS, "lw": 1.8 if named else 0.8}
            axes[0].plot(*curves.validation, marker="o", ms=4, **style)
            steps, losses = curves.training
            width = max(1, len(losses) // 10)
            means = np.convolve(losses, np.ones(width) / width, "valid") if len(losses) else losses
            axes[1].plot(steps[width - 1 :], means, **style)
        for axis in axes:
            low, high = _bounds(axis)
            if low > 0 and high / low > 10:
                axis.set_yscale("log")
                axis.yaxis.set_major_formatter(LogFormatter())
                axis.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.5)))
        figure.patch.set_alpha(0)
        text = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(text, format="svg", transparent=True, metadata=nothing)
    svg = text.getvalue()
    return svg[svg.index("<svg") :].replace(_INK, "currentColor")


def _curve(commit: Commit, name: str) -> Curve:
    """Without the steps that were not taken, which may have no loss."""
    import pyarrow.parquet as pq

    with commit.open(name) as file:
        table = pq.read_table(file, columns=["step", "loss"])
    steps, losses = (table[column].to_numpy().astype(np.float64) for column in ("step", "loss"))
    return steps[np.isfinite(losses)], losses[np.isfinite(losses)]


def _bounds(axis) -> tuple[float, float]:
    values = np.concatenate([line.get_ydata() for line in axis.lines] or [np.ones(1)])
    return (float(values.min()), float(values.max())) if len(values) else (1.0, 1.0)
