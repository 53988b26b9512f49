"""Tables and lists that name sources: what each line says, and which lines say nothing that can be used."""

import csv
import io
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from infra import storage
from infra.errors import SteadyDancerError
from pipelines.columns import RIGHTS

TABLES, LISTS = (".csv", ".jsonl", ".parquet"), (".txt",)
PATH_COLUMNS = ("path", "source", "url")
"""The first of these that has a value says which file a row is about."""

KNOWN = (*RIGHTS, "caption")
ALIASES = {"license": "licence"}


class SourceError(SteadyDancerError):
    """Where videos should be, there are none or none can be looked for."""


@dataclass(frozen=True)
class Line:
    """``where`` names file and line. ``path`` is as it was written; ``facts`` has the known columns (text) and
    ``metadata`` (all others, as they came). ``error`` says why the line names no file.
    """

    where: str
    path: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    error: str | None = None


def read(table: str) -> Iterator[Line]:
    """The lines of a table (.csv with a header, .jsonl, .parquet) or a list (.txt: a path or address a line, # starts a
    comment).

    A line that cannot be read costs itself. Raises SourceError for a table that cannot be read at all or has no column
    that names a file.
    """
    name = table.rpartition("/")[2]
    filesystem, root = storage.opened(table)
    try:
        with storage.told(table):
            content = filesystem.cat_file(root)
    except OSError as error:
        raise SourceError(f"{table} cannot be read: {error.strerror or error}.", "Correct `sources`.") from None
    kind = name[name.rfind(".") :].lower()
    if kind == ".parquet":
        yield from _parquet_lines(name, content)
        return
    if b"\0" in content:
        raise SourceError(f"{table} is not a text file.", "Expected UTF-8.")
    text = content.decode("utf-8-sig", "surrogateescape")  # a path may hold bytes that are no UTF-8
    yield from {".csv": _csv_lines, ".jsonl": _json_lines, ".txt": _list_lines}[kind](name, text)


def _list_lines(name: str, text: str) -> Iterator[Line]:
    for number, line in enumerate(text.split("\n"), 1):
        if (line := line.strip()) and not line.startswith("#"):
            yield Line(f"{name} line {number}", line)


def _json_lines(name: str, text: str) -> Iterator[Line]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{name} line {number}"
        try:
            record = json.loads(line, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            yield Line(where, error=f"is not valid JSON ({error})")
            continue
        yield _line(where, record) if isinstance(record, dict) else Line(where, error="is no JSON object")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _csv_lines(name: str, text: str) -> Iterator[Line]:
    """After a line that cannot be parsed the next one is tried: an open quote does not swallow the rest."""
    physical, first, header = list(io.StringIO(text, newline="")), 0, None
    while first < len(physical):
        reader = csv.reader(physical[first:], strict=True)
        start = first
        try:
            for values in reader:
                where, start = f"{name} line {start + 1}", first + reader.line_num
                if not any(value.strip() for value in values):
                    continue
                if header is None:
                    header = _checked_header(name, values)
                elif len(values) != len(header):
                    yield Line(where, error=f"has {len(values)} fields, the header {len(header)}")
                else:
                    yield _line(where, dict(zip(header, values, strict=True)))
            return
        except csv.Error as error:
            yield Line(f"{name} line {start + 1}", error=f"is not valid CSV ({error})")
            first = start + 1
    if header is None:
        _checked_header(name, [])


def _parquet_lines(name: str, content: bytes) -> Iterator[Line]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(io.BytesIO(content))
        _checked_header(name, file.schema_arrow.names)
        number = 0
        for batch in file.iter_batches():
            for record in batch.to_pylist():
                number += 1
                yield _line(f"{name} row {number}", record)
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"{name} cannot be read as Parquet: {error}") from None


def _checked_header(name: str, header: list[str]) -> list[str]:
    header = [column.strip() for column in header]
    if not set(PATH_COLUMNS) & {column.lower() for column in header}:
        raise SourceError(
            f"{name} has no column that names a file; its columns are {', '.join(header) or '(none)'}.",
            f"Expected one of {', '.join(PATH_COLUMNS)}.",
        )
    return header


def _line(where: str, record: dict[str, Any]) -> Line:
    paths, facts, others = {}, {}, {}
    for column, value in record.items():
        if value is None or value == "" or isinstance(value, float) and not math.isfinite(value):
            continue
        name = ALIASES.get(column.lower(), column.lower())
        if name in PATH_COLUMNS:
            paths[name] = value
        elif name in KNOWN:
            if text := plain(value):
                facts[name] = text
        else:
            others[column] = value
    chosen = next((column for column in PATH_COLUMNS if column in paths), None)
    if chosen is None:
        return Line(where, error=f"has no value in {', '.join(PATH_COLUMNS)}")
    path = paths.pop(chosen)
    if not isinstance(path, str) or not path.strip():
        return Line(where, error=f"has a {chosen} that is no text")
    if others | paths:
        facts["metadata"] = others | paths
    return Line(where, path.strip(), facts)


def plain(value: Any) -> str:
    """A value of a table as text that any file format can hold."""
    text = (
        value if isinstance(value, str) else canonical(value) if isinstance(value, (list, dict, bool)) else str(value)
    )
    return storable(text.strip())


def canonical(value: Any) -> str:
    """JSON text with sorted keys; what JSON has no form for (dates, decimals) is written as its text."""
    return storable(json.dumps(value, sort_keys=True, ensure_ascii=False, default=str))


def storable(text: str) -> str:
    """Text that any file format can hold: what is no character, as bytes of a file's name that are not UTF-8, becomes
    a question mark.
    """
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
