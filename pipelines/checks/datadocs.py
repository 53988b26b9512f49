"""Great Expectations' Data Docs as pages that need no network and are the same for the same dataset.

Its own site builder links style sheets, scripts and pictures from seven hosts, and writes the time and random ids. Here
its renderer makes the sections of a page; page and style are ours.
"""

import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from pipelines.checks.rules import View

STYLE = """
:root { color-scheme: light; } * { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2933; background: #f6f5f2; margin: 0; }
main { max-width: 1200px; margin: 0 auto; padding: 32px 20px 64px; }
h1 { font-size: 26px; margin: 0 0 4px; } a { color: #20614a; }
.note { color: #5f6b76; font-size: 13px; margin: 0 0 16px; }
h5 { font-size: 15px; margin: 0; } h6, .h6 { font-size: 13px; font-weight: 600; margin: 0; }
.ge-section, .card { background: #fff; border-radius: 6px; margin: 0 0 8px; padding: 10px 16px; }
.table-responsive, .scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 13px; }
.ge-section table { table-layout: fixed; } .ge-section thead { display: none; }
.ge-section td { padding: 4px 12px 4px 0; vertical-align: top; overflow-wrap: anywhere; }
.ge-section td:first-child { width: 72px; } .ge-section td:last-child { width: 30%; }
.ge-section td table thead { display: table-header-group; } .ge-section td table td { width: auto !important; }
.card th, .card td { text-align: left; padding: 6px 12px 6px 0; border-bottom: 1px solid #e4e2dc; vertical-align: top; }
.badge { background: #ebe8e1; border-radius: 4px; padding: 1px 6px; overflow-wrap: anywhere; }
i { font-style: normal; font-weight: 600; } .ge-section td + td i { display: none; }
.text-success::before { content: "holds"; color: #2f7d5b; } .text-danger::before { content: "broken"; color: #c2553d; }
.text-warning::before { content: "warning"; color: #9a6b00; } a[data-toggle] { display: none; }
.show-scrollbars { overflow: auto; max-height: 320px; }
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
INDEX = "Data Docs"
RANDOM_ID = re.compile(r"-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
UNESCAPED = re.compile(r"<(?!/?(a|br|code|div|h5|h6|hr|i|li|ol|p|pre|span|strong|table|tbody|td|th|thead|tr|ul)\b)")
"""What a value of the table, which it writes as it is, may have brought into the page."""
REPEATED_ID = re.compile(r' id="?(section|content-block)[^ ">]*"?')


def write(folder: Path, outcomes: list[tuple[View, Any]]) -> Path:
    """``index.html`` and a page per view in ``folder``. ``outcomes`` are Great Expectations' results of the suites."""
    folder.mkdir(parents=True, exist_ok=True)
    head = "".join(f"<th>{name}</th>" for name in ("", "suite", "rows", "expectations", "broken"))
    lines = []
    for view, outcome in outcomes:
        name = f"{view.name.replace(' ', '_')}.html"
        broken = [result.expectation_config for result in outcome.results if not result.success]
        (folder / name).write_text(_page(view.name, _summary(view, broken), _sections(outcome, broken)), "utf-8")
        names = escape("; ".join(config.meta["rule"] for config in broken))
        cells = f"<a href='{name}'>{escape(view.name)}</a>", f"{len(view.table):,}", str(len(view.rules)), names
        lines.append(f"<tr><td>{_icon(broken)}</td>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    table = f"<div class='card scroll'><table><tr>{head}</tr>{''.join(lines)}</table></div>"
    (folder / "index.html").write_text(_page(INDEX, "Great Expectations of this dataset.", table), "utf-8")
    return folder / "index.html"


def _icon(broken: Sequence[Any]) -> str:
    kinds = {str(getattr(config.severity, "value", config.severity)) for config in broken}
    return f"<i class=text-{'danger' if 'critical' in kinds else 'warning' if kinds else 'success'}></i>"


def _summary(view: View, broken: Sequence[Any]) -> str:
    names = "".join(f"<br>{_icon([config])} {escape(config.meta['rule'])}" for config in broken)
    return f"{len(view.table):,} rows, {len(view.rules)} expectations, {len(broken)} broken.{names}"


def _page(title: str, note: str, body: str) -> str:
    policy = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    back = "" if title == INDEX else f"<p class=note><a href=index.html>{INDEX}</a></p>"
    return (
        f"<!doctype html><html lang=en><head><meta charset=utf-8><title>{escape(title)}</title>{policy}"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style></head><body><main>{back}<h1>{escape(title)}</h1><p class=note>{note}</p>{body}"
        "</main></body></html>"
    )


def _sections(outcome, broken: Sequence[Any]) -> str:
    """What Great Expectations renders of each column, broken ones first; not what it says of the run."""
    from great_expectations.render.renderer import ValidationResultsPageRenderer
    from great_expectations.render.view.view import DefaultJinjaSectionView

    document = ValidationResultsPageRenderer(run_info_at_end=True).render(outcome).to_json_dict()
    sections = [section for section in document["sections"] if section["section_name"] not in ("Overview", "Run Info")]
    first = {config.kwargs.get("column", TABLE_SECTION) for config in broken}
    sections.sort(key=lambda section: section["section_name"] not in first)
    view = DefaultJinjaSectionView()
    pages = (view.render({"section": section, "section_loop": {"index": n}}) for n, section in enumerate(sections))
    return UNESCAPED.sub("&lt;", REPEATED_ID.sub("", RANDOM_ID.sub("", "".join(pages))))


TABLE_SECTION = "Table-Level Expectations"
