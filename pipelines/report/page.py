"""The dataset's report: one HTML file that needs no network and no script. Same dataset and costs, same bytes.

It stays below some 25 MB whatever the size of the dataset: 12 MB of pictures (16 as text), 5,000 rows, counts
of all others.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.checks.validation import arrow_table
from pipelines.columns import BY_NAME, FAULTS, POSE_SCORES, RIGHTS, SCORES
from pipelines.gates import Gates
from pipelines.report.contact_sheet import Pictures
from pipelines.report.plots import GATE_COLOUR, KEPT_COLOUR, REJECTED_COLOUR, TIER_COLOUR, histogram
from pipelines.work.stage import Row

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

KEPT_SHOWN, REJECTED_SHOWN, GROUPS_SHOWN, EXTREMES_SHOWN = 24, 8, 12, 3
ROWS_SHOWN, LINES_SHOWN, TEXT_SHOWN = 5000, 40, 300
MAIN_SCORES = ("body_visibility", "hand_visibility", "face_visibility", "body_speed", "jerk", "motion", "blur")
MAIN_SCORES += ("start_clarity", "aesthetic")
"""Of these the worst and best kept clips are shown."""
SHOWN_OF_KEPT = ("body_speed", "body_visibility", "hand_visibility", "face_visibility", "blur")
COUNTED = ("bucket", "split", "tier", "caption_from", "codec", "missed")
LEFT_OUT = ["fingerprint", "members", "crop", "metadata", "sha256"]
STEPS = ("source", "pictures", "pose", "choice")


def write(
    path: Path,
    rows: "Sequence[Row] | pa.Table",
    gates: Gates,
    checks: Sequence[dict[str, Any]],
    preview: Callable[[str], Path | None],
    *,
    costs: Sequence[tuple[str, int, int, float, float]] = (),
    title: str = "Curated dataset",
) -> None:
    """The report of a manifest. ``checks`` are what :func:`pipelines.checks.validation.validate` says.

    ``preview`` gives the picture strip (JPEG) of a clip id, or None; the file need not exist. ``costs``: (unit, count,
    failed, seconds, CPU seconds) of each unit of work.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    table = _table(rows)
    kept, rejected = (table[table["verdict"] == verdict] for verdict in ("kept", "rejected"))
    pictures = Pictures(preview)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": _number, "count": "{:,}".format}
    hours = float((kept["frames"] / kept["fps"]).sum()) / 3600
    content = {
        "title": title,
        "colours": {"kept": KEPT_COLOUR, "rejected": REJECTED_COLOUR, "gate": GATE_COLOUR, "tier": TIER_COLOUR},
        "facts": _facts(table, kept, hours, checks),
        "steps": _steps(table, gates),
        "reasons": [_reason(reason, part, gates, pictures) for reason, part in _by_size(rejected, "reason")],
        "kept": _sheet(kept.sort_values("clip_id"), KEPT_SHOWN, pictures, SHOWN_OF_KEPT),
        "extremes": [e for name in MAIN_SCORES if (e := _extremes(name, kept, pictures))],
        "histograms": [_histogram(name, kept, rejected, gates) for name in SCORES if table[name].notna().any()],
        "unmeasured": [name for name in SCORES if not table[name].notna().any()],
        "groups": _groups(table, pictures),
        "counted": [_counted(name, kept) for name in COUNTED if kept[name].notna().any()],
        "lengths": [_lengths(table, kept)],
        "rights": [_rights(name, kept) for name in RIGHTS],
        "faults": _faults(rejected),
        "costs": _costs(costs, hours),
        "gates": _gate_lines(gates),
        "checks": sorted(checks, key=lambda check: (check["passed"], check["severity"])),
        "rows": _rows(table),
        "found": len(table),
        "columns": BY_NAME,
    }
    page = environment.get_template("page.html").render(content, pictures=pictures, left_out=pictures.left_out)
    path.write_text(page, "utf-8")


def _table(rows: "Sequence[Row] | pa.Table") -> "pd.DataFrame":
    table = arrow_table(rows).drop_columns(LEFT_OUT)
    lists = {name: [", ".join(of or []) or None for of in table[name].to_pylist()] for name in ("reasons", "missed")}
    frame = table.drop_columns(list(lists)).to_pandas()
    for name, texts in lists.items():
        frame[name] = texts
    return frame.sort_values(["source", "start", "clip_id"], na_position="first", kind="stable")


def _number(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.3g}" if isinstance(value, float) and abs(value) < 1000 else f"{value:,.0f}"


def _facts(table: "pd.DataFrame", kept: "pd.DataFrame", hours: float, checks: Sequence[dict]) -> list[tuple[str, str]]:
    broken = [check["severity"] for check in checks if not check["passed"]]
    warnings = len(broken) - broken.count("critical")
    told = "checks hold" + (f", {warnings} warning{'s' * (warnings > 1)}" if warnings else "")
    unit, scale = ("h", 1) if hours >= 1 else ("min", 60) if hours >= 1 / 60 else ("s", 3600)
    return [
        ("sources", f"{len(table[['source', 'source_id']].drop_duplicates()):,}"),
        ("candidates", f"{len(table):,}"),
        ("kept clips", f"{len(kept):,}"),
        ("of candidates", f"{len(kept) / max(1, len(table)):.1%}"),
        ("kept", f"{hours * scale:.3g} {unit}"),
        *([(told, f"{len(checks) - len(broken)} / {len(checks)}")] if checks else []),
    ]


def _step_of(reason: str, is_clip: bool, gates: Gates) -> str:
    """Where in the funnel a row was lost."""
    if reason == "spare" or (reason == "duplicate" and is_clip):
        return "choice"
    column = next((gate.column for gate in gates.gates if gate.reason == reason), None)
    if reason in ("no_body", "not_scored", "not_stored"):
        return "pose"
    if reason in FAULTS or column is None:
        return "source"
    return "pose" if column in POSE_SCORES else "pictures"


def _steps(table: "pd.DataFrame", gates: Gates) -> list[dict[str, Any]]:
    """The funnel: what is left after each step, and what was lost in it."""
    names = {
        "source": "readable, long enough, allowed",
        "pictures": "pass the gates on pictures",
        "pose": "pass the gates on poses",
        "choice": "kept: the best of its shot, no duplicate",
    }
    rejected = table[table["verdict"] == "rejected"]
    pairs = zip(rejected["reason"], rejected["start"].notna(), strict=True)
    lost_in = [_step_of(reason or "", is_clip, gates) for reason, is_clip in pairs]
    left = total = len(table)
    steps = [{"name": "found", "left": total, "share": 100.0, "lost": []}]
    for step in STEPS:
        lost = _sizes(rejected["reason"][[of == step for of in lost_in]])
        left -= sum(number for _, number in lost)
        steps.append({"name": names[step], "left": left, "share": 100 * left / max(1, total), "lost": lost})
    return steps


def _sizes(values: "pd.Series") -> list[tuple[str, int]]:
    counts = values.fillna("not said").value_counts()
    return sorted(((str(name), int(number)) for name, number in counts.items()), key=lambda item: (-item[1], item[0]))


def _by_size(table: "pd.DataFrame", column: str) -> list[tuple[str, "pd.DataFrame"]]:
    return [(name, table[table[column].fillna("not said") == name]) for name, _ in _sizes(table[column])]


def _reason(reason: str, part: "pd.DataFrame", gates: Gates, pictures: Pictures) -> dict[str, Any]:
    asked = [gate for gate in gates.gates if gate.reason == reason]
    shown = part
    if asked:  # the clearest cases and the narrowest: evenly from lowest to highest
        ordered = part.sort_values([asked[0].column, "clip_id"])
        shown = ordered.iloc[[round(n * (len(part) - 1) / max(1, REJECTED_SHOWN - 1)) for n in range(REJECTED_SHOWN)]]
        shown = shown[~shown.index.duplicated()] if len(part) > REJECTED_SHOWN else ordered
    columns = tuple(dict.fromkeys(gate.column for gate in asked))
    bounds = "; ".join(f"{gate.column} {_bounds(gate)}" for gate in asked if _bounds(gate))
    return {
        "name": reason,
        "meaning": FAULTS.get(reason) or (f"asked for: {bounds}" if bounds else ""),
        "number": len(part),
        "sheet": _sheet(shown, REJECTED_SHOWN, pictures, columns),
    }


def _bounds(gate: Any) -> str:
    low, high = gate.min, gate.max
    if None not in (low, high):
        return f"= {low:g}" if low == high else f"{low:g} to {high:g}"
    return f"≥ {low:g}" if low is not None else f"≤ {high:g}" if high is not None else ""


def _sheet(part: "pd.DataFrame", shown: int, pictures: Pictures, scores: Sequence[str]) -> list[dict[str, Any]]:
    return [_card(row, pictures, scores) for row in part.head(shown).to_dict("records")]


def _card(row: Row, pictures: Pictures, scores: Sequence[str]) -> dict[str, Any]:
    values = [(name, _number(row[name])) for name in scores if _number(row[name])]
    return {
        "clip": row["clip_id"],
        "source": row["source"],
        "start": _number(row["start"]),
        "kept": row["verdict"] == "kept",
        "picture": pictures.show(row["clip_id"]),
        "scores": values,
        "tag": row["tier"] if row["verdict"] == "kept" else row["reason"],
        "said": (row["caption"] if row["verdict"] == "kept" else row["error"] or "") or "",
    }


def _extremes(name: str, kept: "pd.DataFrame", pictures: Pictures) -> dict[str, Any] | None:
    """The kept clips with the lowest and the highest value of a score."""
    measured = kept[kept[name].notna()].sort_values([name, "clip_id"])
    if len(measured) < 2:
        return None
    shown = min(EXTREMES_SHOWN, len(measured) // 2)
    lowest, highest = (_sheet(part, shown, pictures, (name,)) for part in (measured, measured.iloc[::-1]))
    return {"name": name, "lowest": lowest, "highest": highest}


def _histogram(name: str, kept: "pd.DataFrame", rejected: "pd.DataFrame", gates: Gates) -> dict[str, Any]:
    from markupsafe import Markup

    of_kept, of_rejected = (part[name].dropna().to_numpy() for part in (kept, rejected))
    tiers = [gate for tier in gates.tiers for gate in tier.gates if gate.column == name]
    svg = histogram(of_kept, of_rejected, [gate for gate in gates.gates if gate.column == name], tiers)
    return {"name": name, "svg": Markup(svg), "median": float(kept[name].median()) if len(of_kept) else None}


def _groups(table: "pd.DataFrame", pictures: Pictures) -> dict[str, Any]:
    """Near-duplicates side by side, largest groups first."""
    grouped = [(name, part) for name, part in _by_size(table[table["group"].notna()], "group") if len(part) > 1]
    shown = []
    for _, part in grouped[:GROUPS_SHOWN]:
        ordered = part.sort_values(["verdict", "clip_id"])
        shown.append({"sheet": _sheet(ordered, 6, pictures, ("blur", "short_side")), "number": len(part)})
    return {"shown": shown, "number": len(grouped)}


def _counted(name: str, kept: "pd.DataFrame") -> dict[str, Any]:
    sizes = _sizes(kept[name].dropna() if name == "missed" else kept[name])
    title = {"caption_from": "captions from", "missed": "kept from the next tier by"}.get(name, name)
    lines = [(label, number, 100 * number / max(1, len(kept))) for label, number in sizes[:LINES_SHOWN]]
    return {"title": title, "lines": lines, "more": max(0, len(sizes) - LINES_SHOWN)}


def _lengths(table: "pd.DataFrame", kept: "pd.DataFrame") -> dict[str, Any]:
    """Usable length of the shots, counted in steps that double."""
    edges = [0, 1, 2, 4, 8, 16, 32, 64, math.inf]
    shots = table[table["duration"].notna()].drop_duplicates(["source_id", "shot"])["duration"]
    lines = []
    for low, high in zip(edges, edges[1:], strict=False):
        number = int(((shots >= low) & (shots < high)).sum())
        label = f"{low:g} s and more" if high == math.inf else f"{low:g} to {high:g} s"
        lines.append((label, number, 100 * number / max(1, len(shots))))
    return {"title": "length of the shots", "lines": [line for line in lines if line[1]], "more": 0}


def _rights(name: str, kept: "pd.DataFrame") -> dict[str, Any]:
    stated = kept[name].where(kept[name].fillna("").str.strip() != "")
    sizes = _sizes(stated.dropna())
    return {"name": name, "sizes": sizes[:5], "different": len(sizes), "missing": int(stated.isna().sum())}


def _faults(rejected: "pd.DataFrame") -> list[dict[str, Any]]:
    """What was said of rows with a fault, each message once with its number."""
    part = rejected[rejected["reason"].isin(set(FAULTS) - {"spare", "duplicate", "not_scored"})]
    counts = part.groupby(["reason", part["error"].fillna("")], sort=False)["source"].agg(["size", "first"])
    lines = [
        {"reason": reason, "said": said[:TEXT_SHOWN], "number": int(number), "source": source}
        for (reason, said), number, source in zip(counts.index, counts["size"], counts["first"], strict=True)
    ]
    return sorted(lines, key=lambda line: (-line["number"], line["reason"], line["said"]))[:LINES_SHOWN]


def _costs(costs: Sequence[tuple[str, int, int, float, float]], hours: float) -> list[dict[str, Any]]:
    lines = [
        {
            "unit": unit,
            "count": count,
            "failed": failed,
            "seconds": float(seconds),
            "cpu": float(cpu),
            "each": seconds / count if count else None,
            "per_hour": cpu / hours if hours else None,
        }
        for unit, count, failed, seconds, cpu in costs
    ]
    total = sum(line["seconds"] for line in lines) or 1.0
    return [line | {"share": 100 * line["seconds"] / total} for line in lines]


def _gate_lines(gates: Gates) -> list[tuple[str, Any, str]]:
    named = [("every kept clip", gates.gates), *((f"tier {tier.name}", tier.gates) for tier in gates.tiers)]
    return [(name, gate, _bounds(gate) or "has a value") for name, of in named for gate in of]


def _rows(table: "pd.DataFrame") -> list[dict[str, Any]]:
    """At most ROWS_SHOWN rows, spread evenly over the table."""
    if len(table) > ROWS_SHOWN:
        table = table.iloc[[n * len(table) // ROWS_SHOWN for n in range(ROWS_SHOWN)]]
    names = ["source", "clip_id", "shot", "start", "verdict", "reasons", "tier", "bucket", "split", "error"]
    return table[[*names, "body_speed", "body_visibility", "blur"]].to_dict("records")
