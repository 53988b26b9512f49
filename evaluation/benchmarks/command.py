"""`steadydancer benchmark`: a folder checked, its strata shown, its manifest written."""

from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from evaluation.benchmarks.check import read_benchmark, table_of
from evaluation.benchmarks.choice import poses_folder
from evaluation.benchmarks.folder import folder_benchmark
from evaluation.benchmarks.manifest import FILE, write_manifest
from evaluation.benchmarks.poses import EstimatorBuilder, Poses, own_estimator
from evaluation.pairs import Pair
from infra.errors import SteadyDancerError, UsageError
from infra.schema import Config
from infra.workspace import claim


def check_benchmark(
    config: Config,
    name: str,
    folder: Path,
    out: Path | None = None,
    console: Console | None = None,
    estimator: EstimatorBuilder = own_estimator,
) -> Path:
    """Reads ``folder`` in the layout ``name`` (or by its own benchmark.yaml), prints what is wrong or the strata, and
    writes the manifest (to ``folder`` unless ``out`` says elsewhere); returns it.

    Estimated poses are kept in the work folder, where `evaluate` finds them. Raises SteadyDancerError where a file is
    missing or unreadable, UsageError where ``out`` is there already with other content.
    """
    console = console or Console()
    manifest, problems = read_benchmark(name, folder)
    if problems or manifest is None:
        console.print(table_of(problems))
        raise SteadyDancerError(
            f"{folder}: missing or unreadable files: {len(problems)}. Nothing was written.",
            f"Mend them, or say in {folder / FILE} which files the pairs are made of.",
        )
    target = folder / FILE if out is None else out
    if target.exists() and target.resolve() != (folder / FILE).resolve():
        raise UsageError(f"{target} is there already.", "Name a new file, or remove that one.")
    if not target.exists():
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            write_manifest(target, manifest)
        except OSError as error:
            raise UsageError(f"{target} cannot be written: {error.strerror}.", "Name another file.") from None

    def in_turn(function: Callable, calls: Mapping[str, tuple]) -> None:
        for arguments in track(calls.values(), "Finding poses", console=console, transient=True):
            function(*arguments)

    with claim(config) as workspace:
        poses = Poses(poses_folder(workspace), config.pose, estimator)
        benchmark = folder_benchmark(folder, poses, manifest=manifest, compat=config.pose.compat, side_by_side=in_turn)
    console.print(strata_table(benchmark.name, benchmark.pairs))
    where = "" if out is None else f" (once it lies in it as {FILE})"
    console.print(f"{escape(str(target))}: evaluate.benchmark={escape(str(folder))}{where}", soft_wrap=True)
    return target


def strata_table(name: str, pairs: list[Pair]) -> Table:
    """A row per stratum: how many pairs have each value, or the least, middle and largest number."""
    drivers = len({pair.cluster for pair in pairs})
    title = f"{escape(name)}: {len(pairs)} pairs of {drivers} drivers"
    table = Table("stratum", "pairs", "values", title=title, title_justify="left")
    for stratum in sorted({key for pair in pairs for key in pair.strata}):
        values = [pair.strata[stratum] for pair in pairs if stratum in pair.strata]
        table.add_row(escape(stratum), str(len(values)), escape(_told(values)))
    return table


def _told(values: list[str | float]) -> str:
    if all(isinstance(value, str) for value in values):
        return ", ".join(f"{value} {values.count(value)}" for value in sorted(set(values)))
    if all(not isinstance(value, str) for value in values):
        return f"{min(values):.3g} to {max(values):.3g}, in the middle {median(values):.3g}"
    return "numbers and words"
