"""The dataset's report: one HTML file that needs no network. Same dataset, same bytes."""

import base64
import io
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from pipelines.columns import BY_NAME, FAULTS
from pipelines.dataset import funnel
from pipelines.gates import Gate
from pipelines.stage import Row

KEPT_SHOWN, REJECTED_SHOWN = 24, 8
KEPT_COLOUR, REJECTED_COLOUR, GATE_COLOUR = "#2f7d5b", "#c2553d", "#1f2933"

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2933; background: #f6f5f2; margin: 0; }
main { max-width: 1120px; margin: 0 auto; padding: 32px 24px 64px; }
h1 { font-size: 26px; margin: 0 0 4px; } h2 { font-size: 18px; margin: 40px 0 12px; }
p.note, .facts { color: #5f6b76; font-size: 13px; margin: 0 0 12px; }
.bar { display: grid; grid-template-columns: 180px 1fr 56px; gap: 12px; align-items: center; margin: 4px 0; }
.bar i { display: block; height: 18px; border-radius: 3px; min-width: 2px; } .bar b { text-align: right; }
table { border-collapse: collapse; width: 100%; font-size: 13px; background: #fff; }
th, td { text-align: left; padding: 6px 10px; border-bottom: 1px solid #e4e2dc; vertical-align: top; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
.sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(340px, 1fr)); gap: 14px; }
figure { margin: 0; background: #fff; border-radius: 6px; padding: 8px; border-left: 4px solid; overflow: hidden; }
figure img { max-width: 100%; display: block; border-radius: 3px; }
figcaption { font-size: 12px; color: #5f6b76; margin-top: 6px; overflow-wrap: anywhere; }
figcaption b { color: #1f2933; } img.plot { width: 100%; background: #fff; border-radius: 6px; }
code { font-size: 12px; }
"""


def write(
    path: Path, rows: Sequence[Row], gates: Sequence[Gate], checks: Sequence[dict], preview: Callable[[str], Path]
) -> None:
    """The report of a manifest's ``rows``. ``preview`` gives the picture strip of a clip id (it may not exist)."""
    body = [
        "<h1>Curated dataset</h1>",
        f"<p class=note>{_counted(funnel(rows)['sources'], 'source')}, {_counted(len(rows), 'candidate')}.</p>",
        "<h2>Funnel</h2>",
        _funnel(funnel(rows)),
        "<h2>Kept</h2>",
        _sheet([row for row in rows if row["verdict"] == "kept"], KEPT_SHOWN, preview),
        "<h2>Rejected</h2>",
        *_rejected(rows, preview),
        "<h2>Scores</h2><p class=note>Lines mark the gates.</p>",
        f"<img class=plot alt='histograms of the scores' src='{_histograms(rows, gates)}'>",
        "<h2>Gates</h2>",
        _gates(gates),
        "<h2>Checks (Great Expectations)</h2>",
        _checks(checks),
        "<h2>Every row</h2>",
        _rows(rows),
    ]
    page = f"<!doctype html><html lang=en><meta charset=utf-8><title>Curated dataset</title><style>{STYLE}</style>"
    path.write_text(f"{page}<main>{''.join(body)}</main></html>", "utf-8")


def _counted(number: int, word: str) -> str:
    return f"{number} {word}" + ("" if number == 1 else "s")


def _funnel(counts: dict[str, Any]) -> str:
    lines = [("found", counts["found"], "#8a97a3")]
    lines += [(reason.replace("_", " "), number, REJECTED_COLOUR) for reason, number in counts["rejected"].items()]
    lines += [("kept", counts["kept"], KEPT_COLOUR)]
    widths = [100 * number / max(1, counts["found"]) for _, number, _ in lines]
    return "".join(
        f"<div class=bar><span>{escape(name)}</span>"
        f"<i style='width:{width:.1f}%;background:{colour}'></i><b>{number}</b></div>"
        for (name, number, colour), width in zip(lines, widths, strict=True)
    )


def _rejected(rows: Sequence[Row], preview: Callable[[str], Path]) -> list[str]:
    parts = []
    for reason in funnel(rows)["rejected"]:
        hit = [row for row in rows if row["reason"] == reason]
        meaning = f": {FAULTS[reason]}" if reason in FAULTS else ""
        parts.append(f"<p><b>{escape(reason)}</b>{escape(meaning)} ({_counted(len(hit), 'row')})</p>")
        parts.append(_sheet(hit, REJECTED_SHOWN, preview))
    return parts or ["<p class=note>Nothing was rejected.</p>"]


def _sheet(rows: Sequence[Row], shown: int, preview: Callable[[str], Path]) -> str:
    figures = []
    for row in rows[:shown]:
        colour = KEPT_COLOUR if row["verdict"] == "kept" else REJECTED_COLOUR
        strip = preview(row["clip_id"])
        picture = f"<img alt='frames with pose' src='{_data(strip.read_bytes(), 'jpeg')}'>" if strip.is_file() else ""
        span = "" if row.get("start") is None else f" at {row['start']:.2f} s"
        scores = " · ".join(f"{name} {row[name]:.3g}" for name in _SHOWN if row.get(name) is not None)
        name = f"<b>{escape(row['source'])}</b>{span} <code>{row['clip_id']}</code>"
        text = f"{name}<br>{escape(row.get('error') or scores)}"
        figures.append(f"<figure style='border-color:{colour}'>{picture}<figcaption>{text}</figcaption></figure>")
    more = f"<p class=note>and {len(rows) - shown} more</p>" if len(rows) > shown else ""
    return f"<div class=sheet>{''.join(figures)}</div>{more}"


_SHOWN = ("people", "body_visibility", "body_speed", "pixel_change", "brightness")


def _data(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _histograms(rows: Sequence[Row], gates: Sequence[Gate]) -> str:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = [c.name for c in BY_NAME.values() if c.role == "score"]
    figure = Figure(figsize=(11, 2.4 * -(-len(names) // 4)), layout="constrained")
    FigureCanvasAgg(figure)
    for name, axis in zip(names, figure.subplots(-(-len(names) // 4), 4, squeeze=False).flat, strict=False):
        groups = [
            [row[name] for row in rows if row["verdict"] == v and row.get(name) is not None]
            for v in ("kept", "rejected")
        ]
        axis.hist(groups, bins=20, stacked=True, color=[KEPT_COLOUR, REJECTED_COLOUR], label=["kept", "rejected"])
        for gate in gates:
            for bound in (gate.min, gate.max):
                if gate.column == name and bound is not None:
                    axis.axvline(bound, color=GATE_COLOUR, linestyle="--", linewidth=1)
        axis.set_title(name, fontsize=9)
        axis.set_xlabel(BY_NAME[name].unit, fontsize=8)
        axis.tick_params(labelsize=7)
        axis.spines[["top", "right"]].set_visible(False)
        axis.yaxis.get_major_locator().set_params(integer=True)
    for axis in figure.axes[len(names) :]:
        axis.set_visible(False)
    figure.axes[0].legend(fontsize=7, frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return _data(buffer.getvalue(), "png")


def _table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th>{escape(head)}</th>" for head in heads)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in line)}</tr>" for line in lines)
    return f"<table><tr>{top}</tr>{body}</table>"


def _details(summary: str, table: str) -> str:
    return f"<details><summary>{summary}</summary>{table}</details>"


def _gates(gates: Sequence[Gate]) -> str:
    lines = []
    for gate in gates:
        bounds = ["" if bound is None else f"{bound:g}" for bound in (gate.min, gate.max)]
        column = BY_NAME[gate.column]
        lines.append([escape(t) for t in (gate.reason, gate.column, *bounds, column.unit, column.definition)])
    return _table(("reason", "column", "at least", "at most", "unit", "definition"), lines)


def _checks(checks: Sequence[dict]) -> str:
    lines = [
        (escape(check["rule"]), str(check["rows"]), "holds" if check["passed"] else "<b>broken</b>") for check in checks
    ]
    holding = sum(check["passed"] for check in checks)
    return _details(f"{holding} of {len(checks)} hold", _table(("rule", "rows", ""), lines))


def _rows(rows: Sequence[Row]) -> str:
    lines = []
    for row in sorted(rows, key=lambda row: (row["source"], row.get("start") or 0)):
        start = "" if row.get("start") is None else f"{row['start']:.2f}"
        why = escape(", ".join(row["reasons"]) or row.get("bucket") or "")
        cells = (
            row["source"],
            f"<code>{row['clip_id']}</code>",
            start,
            row["verdict"],
            why,
            escape(row.get("error") or ""),
        )
        lines.append((escape(cells[0]), *cells[1:]))
    head = ("source", "clip", "start, s", "verdict", "reasons or bucket", "what was said")
    return _details(_counted(len(rows), "row"), _table(head, lines))
