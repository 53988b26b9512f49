"""Units of work: stages run on one row in one task, their result committed once, so that a rerun does not repeat it."""

import hashlib
import json
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra import commits
from infra.commits import Commit
from infra.errors import CorruptArtifact, SteadyDancerError
from pipelines.stage import PipelineError, Row, Stage, check, run

ROWS_FILE = "rows.json"
ATTEMPTS = 2
"""How often an item is tried whose worker process dies."""


def rejected(row: Row) -> bool:
    """Nothing more is to be done for this row."""
    return bool(row.get("fault")) or row.get("verdict") == "rejected"


@dataclass(frozen=True)
class Unit:
    """A kind of unit of work.

    ``identity`` names the column whose value says which unit it is; with the settings of the stages it says where the
    commit lies under ``folder``. The stages find a local column ``folder``, whose files are committed with the rows.
    Rejected rows pass through untouched. Where a stage raises, nothing is committed.
    """

    name: str
    identity: str
    stages: tuple[Stage, ...]
    folder: Path

    @property
    def settings(self) -> Row:
        return {"unit": self.name, "stages": [stage.settings() for stage in self.stages]}

    def place(self, identity: str) -> Path:
        """Where the unit of that identity is committed. Nested, so that no folder grows with the number of clips."""
        settings = commits.config_hash(self.settings)
        name = hashlib.sha256(f"{settings} {identity}".encode()).hexdigest()[:32]
        return self.folder / f"{self.name}-{settings[:12]}" / name[:3] / name

    def __call__(self, row: Row) -> list[Row]:
        if rejected(row):
            return [row]
        place = self.place(row[self.identity])
        commit = _intact(place) or self._work(row, place)
        return [{**row, **written} for written in json.loads((commit.path / ROWS_FILE).read_text())]

    def _work(self, row: Row, place: Path) -> Commit:
        keep = {column for stage in self.stages for column in stage.writes}
        settings = {**self.settings, "identity": row[self.identity]}
        with commits.write(place, "unit", config=settings, replace=place.exists()) as folder:
            rows = [
                {column: made[column] for column in sorted(keep & made.keys())}
                for made in run(self.stages, {**row, "folder": folder})
            ]
            (folder / ROWS_FILE).write_text(json.dumps(rows, allow_nan=False))
        return commits.read(place)


def _intact(place: Path) -> Commit | None:
    """The unit committed there. One whose bytes were changed counts as not there: it is made again."""
    try:
        commit = commits.find(place)
        return commit and commits.verify(commit)
    except CorruptArtifact:
        return None


def attempt(step: Unit | Stage, row: Row) -> list[Row]:
    """The rows that ``step`` makes of ``row``. One that raises never stops the rest: the row gets the fault ``failed``
    and what was said; as nothing was committed, the next run tries again.
    """
    try:
        return step(row) if isinstance(step, Unit) else run((step,), row)
    except Exception as error:  # noqa: BLE001 whatever it is, it is this row's
        return [{**row, "fault": "failed", "error": f"{type(error).__name__}: {error}"}]


def check_units(steps: Sequence[Unit | Stage], initial: Iterable[str]) -> set[str]:
    """The columns there are after ``steps``; local columns end with their unit. Raises PipelineError."""
    known = {*initial, "fault", "error"}
    for step in steps:
        stages = step.stages if isinstance(step, Unit) else (step,)
        if isinstance(step, Unit) and step.identity not in known:
            raise PipelineError(f"Unit {step.name} is identified by {step.identity}, which nothing before it writes.")
        local = {"folder", *(column for stage in stages for column in stage.local)}
        known = check(stages, known | {"folder"}) - local
    return known


def flow(steps: Sequence[Unit | Stage], rows: Sequence[Row]) -> Iterator[Row]:
    """``rows`` through ``steps`` on the running Ray, streaming, in no particular order.

    Between tasks a row travels as one JSON text: frames cannot enter Ray's object store. Each of ``rows`` is a block of
    its own; one whose worker process dies time and again comes back as it was, with the fault ``failed``. Raises
    SteadyDancerError if that is so for all of them.
    """
    import ray
    from ray.util.annotations import RayDeprecationWarning

    check_units(steps, rows[0])
    _keep_ray_data_quiet()
    ray.data.DataContext.get_current().max_errored_blocks = len(rows) - 1
    items = [{"row": json.dumps({**row, "job": job})} for job, row in enumerate(rows)]
    dataset = ray.data.from_items(items, override_num_blocks=len(items))
    for step in steps:
        stages = step.stages if isinstance(step, Unit) else (step,)
        needs = {
            "num_cpus": max(stage.num_cpus for stage in stages),
            "num_gpus": max(stage.num_gpus for stage in stages),
            "memory": max(stage.memory for stage in stages),
        }
        if needs["memory"] > (there := ray.cluster_resources().get("memory", 0)):
            raise PipelineError(
                f"{type(stages[0]).__name__} and what follows it need {needs['memory'] / 2**30:g} GiB in one task, "
                f"Ray has {there / 2**30:.1f}.",
                f"Set resources.memory_gb={needs['memory'] / 2**30:g} or more.",
            )
        with warnings.catch_warnings():  # Ray 2.60 deprecates these two and has nothing else for them
            warnings.simplefilter("ignore", RayDeprecationWarning)
            if needs["num_gpus"]:  # Ray ends a GPU task's process with the task, and with it whatever was built there
                workers = max(1, int(ray.cluster_resources().get("GPU", 0) / needs["num_gpus"]))
                pool = ray.data.ActorPoolStrategy(min_size=1, max_size=workers)
                alive = {"compute": pool, "fn_constructor_args": (step,), "max_task_retries": ATTEMPTS - 1}
                dataset = dataset.flat_map(_Worker, **alive, **needs)
            else:
                dataset = dataset.flat_map(_task(step), max_retries=ATTEMPTS - 1, **needs)
    arrived = set()
    try:
        for item in dataset.iter_rows():
            row = json.loads(item["row"])
            arrived.add(row.pop("job"))
            yield row
    except ray.exceptions.RayError as error:
        raise SteadyDancerError(
            f"The workers could not do anything: {error}",
            "Ray's session folder (by default under /tmp/ray) has the logs.",
        ) from error
    for job in sorted(set(range(len(rows))) - arrived):
        yield {**rows[job], "fault": "failed", "error": f"its worker process died {ATTEMPTS} times"}


class _Worker:
    """Holds a step, and with it what its stages built, for the life of a Ray worker."""

    def __init__(self, step: Unit | Stage):
        self.work = _task(step)

    def __call__(self, item: dict[str, str]) -> list[dict[str, str]]:
        return self.work(item)


def _task(step: Unit | Stage):
    def work(item: dict[str, str]) -> list[dict[str, str]]:
        return [{"row": json.dumps(made)} for made in attempt(step, json.loads(item["row"]))]

    return work


def _keep_ray_data_quiet() -> None:
    """The step shows one bar for all of it; Ray Data's log goes to Ray's session folder."""
    import logging

    import ray

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
