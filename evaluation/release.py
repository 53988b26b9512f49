"""The release gate: is a candidate, metric by metric, at most a margin worse than a baseline?"""

import difflib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, Field, TypeAdapter, ValidationError
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from evaluation.comparison import Comparison, held_together
from evaluation.metrics.metric import OK
from evaluation.metrics.registry import METRICS
from evaluation.statistics.clusters import by_id
from evaluation.statistics.noninferiority import FAIL, INCONCLUSIVE, PASS, Verdict, judge, overall
from evaluation.statistics.paired import PairedDifference, paired_difference
from evaluation.summary import arrow
from evaluation.tables import pairs_and_drivers, with_interval
from infra import commits
from infra.commits import Commit
from infra.errors import UsageError

ALL = "all"
MOST_LOST = 0.05
"""Share of the baseline's values that a candidate may lack and pass: what it gives no value for may be its worst."""
EXIT_CODES: dict[Verdict, int] = {PASS: 0, FAIL: 1, INCONCLUSIVE: 3}
STYLES: dict[Verdict, str] = {PASS: "green", FAIL: "bold red", INCONCLUSIVE: "yellow"}
NOTE = (
    "Differences are of goodness: positive is better (→: nearer to the target). [low, high] is a 95 % t-interval over "
    "driving videos; below it the bootstrap over drivers and references. pass: all of the first lies above -margin; "
    "fail: all of it lies below."
)


def _known(name: str) -> str:
    if name not in METRICS:
        near = difflib.get_close_matches(name, METRICS, 1)
        raise ValueError(f"there is no such metric.{f' Did you mean {near[0]!r}?' if near else ''}")
    return name


Margin = Annotated[float, Field(gt=0, strict=True, allow_inf_nan=False)]
MARGINS = TypeAdapter(Annotated[dict[Annotated[str, AfterValidator(_known)], Margin], Field(min_length=1)])


@dataclass(frozen=True)
class MetricGate:
    """``difference`` of the goodness (minus badness) of candidate and baseline, over ``kinds``: kind -> pairs."""

    metric: str
    margin: float
    difference: PairedDifference
    verdict: Verdict
    kinds: dict[str, int]


@dataclass(frozen=True)
class Release:
    """``notices`` is what to know before believing the verdict."""

    baseline: str
    candidate: str
    metrics: list[MetricGate]
    notices: list[str]

    @property
    def verdict(self) -> Verdict:
        return overall(gate.verdict for gate in self.metrics)


def read_margins(path: Path) -> dict[str, float]:
    """Metric name -> how much worse a candidate may be, in the metric's unit; of a ratio in |ln|. Raises UsageError."""
    try:
        data = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"{path} cannot be read as YAML: {error}") from None
    try:
        return MARGINS.validate_python(data)
    except ValidationError as error:
        problems = (
            f"  {problem['loc'][0] if problem['loc'] else path.name}: {problem['msg'].removeprefix('Value error, ')}"
            f" (given: {problem['input']!r})"
            for problem in error.errors()
        )
        raise UsageError(
            "\n".join([f"{path} has no valid margins:", *problems]),
            f"One line per metric, such as `ssim: 0.01`. Known: {', '.join(METRICS)}.",
        ) from None


def gate(
    baseline: Commit, candidate: Commit, margins: Mapping[str, float], model: str | None = None, kind: str = ALL
) -> Release:
    """Judges the model of this name, or the last of each evaluation, on the pairs of ``kind`` that both have.

    A metric without two common drivers is inconclusive, and does not pass where the candidate has no value for more
    than MOST_LOST of the pairs that the baseline has one for. Raises UsageError for what is no evaluation, a model that
    is not in both, or a metric that the two define or weigh differently, and SteadyDancerError without a common pair.
    """
    comparison = held_together([baseline, candidate])
    names = [_model(comparison, commit, model) for commit in (baseline, candidate)]
    pairs = {name: pair for name, pair in by_id(comparison.pairs).items() if kind in (ALL, pair.kind)}
    gates, notices = [], list(comparison.notices)
    for metric, margin in margins.items():
        of_metric = [row for row in comparison.scores if row["metric"] == metric and row["pair"] in pairs]
        rows = [[row for row in of_metric if row["model"] == name] for name in names]
        _one_definition(metric, names, rows)
        theirs, ours = map(_goodness, rows)
        difference = paired_difference(ours, theirs, pairs)
        verdict = judge(difference.low, difference.high, margin)
        if lost := len(theirs.keys() - ours.keys()):
            notices.append(f"LOST VALUES of {metric}: the candidate lost {lost} of {len(theirs)}.")
            if verdict == PASS and lost > MOST_LOST * len(theirs):
                verdict = INCONCLUSIVE
        kinds = Counter(pairs[name].kind for name in sorted(theirs.keys() & ours.keys()))
        gates.append(MetricGate(metric, margin, difference, verdict, dict(kinds)))
    return Release(*names, gates, notices)


def gate_release(
    baseline: str, candidate: str, margins: Path, model: str | None, console: Console, kind: str = ALL
) -> int:
    """Prints the verdict on two evaluation folders; the exit code is 0 for pass, 1 for fail, 3 for inconclusive."""
    asked = read_margins(margins)
    release = gate(commits.read(baseline), commits.read(candidate), asked, model, kind)
    show(release, console)
    return EXIT_CODES[release.verdict]


def show(release: Release, console: Console) -> None:
    """One row per metric, what to read first, and the verdict on its own line."""
    if release.notices:
        console.print(Panel(Text("\n".join(release.notices)), title="Read this first", border_style="bold yellow"))
    table = Table(title=Text(f"{release.candidate} against {release.baseline}"), title_justify="left")
    for name in ("metric", "difference", "95 % interval", "margin", "verdict"):
        table.add_column(name, justify="left" if name in ("metric", "verdict") else "right")
    for gate in release.metrics:
        found = gate.difference
        value, interval = with_interval(found.mean, found.low, found.high, signed=True)
        _, two_way = with_interval(found.mean, found.two_way_low, found.two_way_high, signed=True)
        name = f"{gate.metric.replace('_', ' ')} {arrow(METRICS[gate.metric])}"
        counted = [pairs_and_drivers(found.n, found.n_clusters)]
        if len(gate.kinds) > 1:
            counted += [f"{number} {kind.replace('_', ' ')}" for kind, number in gate.kinds.items()]
        table.add_row(
            Text(name) + Text("\n" + "\n".join(counted), "dim"),
            value,
            Text(interval or "none") + Text(f"\n{two_way}" if two_way else "", "dim"),
            f"{gate.margin:g}",
            Text(gate.verdict, STYLES[gate.verdict]),
        )
    console.print(table)
    console.print(Text(NOTE, "dim"))
    count = {verdict: sum(gate.verdict == verdict for gate in release.metrics) for verdict in EXIT_CODES}
    counted = ", ".join(f"{number} {verdict}" for verdict, number in count.items())
    console.print(Text(f"{release.verdict.upper()}  ({counted})", STYLES[release.verdict]))


def _model(comparison: Comparison, commit: Commit, model: str | None) -> str:
    """What the comparison calls it."""
    labels = commit.meta["models"]
    if model is not None and model not in labels:
        near = difflib.get_close_matches(model, labels, 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UsageError(f"{commit.uri} has no model {model!r}.{hint}", f"It has: {', '.join(labels)}.")
    wanted = labels[-1] if model is None else model
    return next(name for name, (of, label) in comparison.origin.items() if of is commit and label == wanted)


def _goodness(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Minus badness by pair, where there is a value."""
    return {row["pair"]: -row["badness"] for row in rows if row["status"] == OK}


def _one_definition(metric: str, names: list[str], rows: list[list[dict[str, Any]]]) -> None:
    """Of one id, and of backbones of the same weights."""
    known = [sorted({" ".join(filter(None, (r["metric_id"], r.get("weights")))) for r in of}) for of in rows]
    if all(known) and known[0] != known[1]:
        told = "; ".join(f"{name}: {', '.join(ids)}" for name, ids in zip(names, known, strict=True))
        raise UsageError(
            f"The two evaluations define {metric} differently, so their values cannot be compared ({told}).",
            "Evaluate both with the same version of the code, the same pose estimator and the same weights.",
        )
