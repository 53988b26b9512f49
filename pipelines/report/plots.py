"""Histograms of the scores as SVG: small, sharp at every size, the same bytes for the same numbers."""

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from pipelines.gates import Gate

if TYPE_CHECKING:
    import numpy as np

KEPT_COLOUR, REJECTED_COLOUR, GATE_COLOUR, TIER_COLOUR = "#2f7d5b", "#c2553d", "#1f2933", "#b07a12"
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 270, 128, 30, 10, 18
BINS = 27
OUTLIERS = 0.001
"""Share of values at either end that are drawn in the outermost bars."""


def histogram(
    kept: "np.ndarray", rejected: "np.ndarray", gates: Sequence[Gate] = (), tiers: Sequence[Gate] = ()
) -> str:
    """Kept below and rejected above, with dashed lines at the bounds of ``gates`` and of the gates of ``tiers``."""
    import numpy as np

    values = np.concatenate([kept, rejected])
    bounds = [(bound, colour) for of, colour in ((gates, GATE_COLOUR), (tiers, TIER_COLOUR)) for bound in _bounds(of)]
    low, high = np.quantile(values, [OUTLIERS, 1 - OUTLIERS]) if len(values) else (0.0, 1.0)
    low, high = min([low, *(b for b, _ in bounds)]), max([high, *(b for b, _ in bounds)])
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    counts = [np.histogram(np.clip(part, low, high), BINS, (low, high))[0] for part in (kept, rejected)]
    most = max(1, int((counts[0] + counts[1]).max()))
    plot_width, plot_height = WIDTH - LEFT - 6, HEIGHT - TOP - BOTTOM
    step, base = plot_width / BINS, TOP + plot_height

    shapes = [f'<line x1="{LEFT}" y1="{base}" x2="{WIDTH - 6}" y2="{base}" stroke="#c9c5bb"/>']
    for colour, below, count in (
        (KEPT_COLOUR, np.zeros(BINS), counts[0]),
        (REJECTED_COLOUR, counts[0], counts[1]),
    ):
        path = "".join(
            f"M{LEFT + step * n + 0.5:.1f} {base - plot_height * under / most:.1f}"
            f"h{step - 1:.1f}v{-plot_height * tall / most:.1f}h{1 - step:.1f}z"
            for n, (under, tall) in enumerate(zip(below, count, strict=True))
            if tall
        )
        if path:
            shapes.append(f'<path d="{path}" fill="{colour}"/>')
    for bound, colour in bounds:
        x = LEFT + plot_width * (bound - low) / (high - low)
        shapes.append(
            f'<line x1="{x:.1f}" y1="{TOP - 6}" x2="{x:.1f}" y2="{base}" stroke="{colour}" stroke-width="1.3" '
            'stroke-dasharray="4 3"/>'
        )
    shapes += [
        _text(LEFT, HEIGHT - 4, _number(low), "start"),
        _text(WIDTH - 6, HEIGHT - 4, _number(high), "end"),
        _text(LEFT - 5, TOP + 6, f"{most:,}", "end"),
    ]
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{"".join(shapes)}</svg>'


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _bounds(gates: Sequence[Gate]) -> list[float]:
    return [bound for gate in gates for bound in (gate.min, gate.max) if bound is not None]


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'
