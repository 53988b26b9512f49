"""The work folder: it belongs to one config, is used by one process at a time, and holds every artifact of a chain."""

import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from infra import commits, storage
from infra.config import differences, identity, load, override, validate
from infra.errors import SteadyDancerError, UsageError
from infra.schema import Config, Resources

OWNER_FILE = "config.yaml"


@dataclass(frozen=True)
class Workspace:
    """Where each artifact of a chain lies. Paths are created by their writers."""

    folder: Path
    store: str | None = None
    """Where datasets are published; None: in the folder."""

    @property
    def sample(self) -> Path:
        return self.folder / "sample"

    @property
    def units(self) -> Path:
        return self.folder / "units"

    @property
    def dataset(self) -> Path | str:
        return self._published("dataset")

    @property
    def encoded(self) -> Path | str:
        return self._published("encoded")

    def _published(self, name: str) -> Path | str:
        if self.store is None or storage.is_local(self.store):
            return Path(self.store or self.folder).expanduser().absolute() / name
        return f"{self.store.rstrip('/')}/{name}"

    @property
    def cache(self) -> Path:
        """Copies of what lies elsewhere: may be deleted at any time."""
        return self.folder / "cache"

    @property
    def source_index(self) -> Path:
        """Contents of the sources that were read already (:func:`pipelines.ingest.describing.describe`)."""
        return self.folder / "sources.jsonl"

    @property
    def opt_out(self) -> Path:
        """What `forget` removed and no later curation may take up again."""
        return self.folder / "opt-out.txt"

    def stage(self, number: int) -> Path:
        return self.folder / f"stage{number}"

    def checkpoints(self, number: int) -> Path:
        return self.folder / "checkpoints" / f"stage{number}"

    @property
    def evaluation(self) -> Path:
        return self.folder / "evaluation"

    @property
    def evaluation_scores(self) -> Path:
        """Scores of single videos and features of networks, kept for later evaluations: may be deleted at any time."""
        return self.folder / "evaluation-scores"

    @property
    def comparison(self) -> Path:
        return self.folder / "comparison"

    @property
    def mlflow_db(self) -> Path:
        return self.folder / "mlflow.db"

    @property
    def chain_id(self) -> str:
        """Identifies this work folder in MLflow, across restarts."""
        return _owner(self.folder)["chain"]


@contextmanager
def claim(config: Config) -> Iterator[Workspace]:
    """The work folder of ``config``, checked and locked for this process.

    Raises UsageError if it belongs to another config (naming the keys) or holds something else, and SteadyDancerError
    if another process works in it, it cannot be written, or the machine is too small for ``config.resources``.
    """
    folder = Path(config.work).expanduser().absolute()
    if config.resources.ray_address is None:
        machine_suffices(config.resources, folder)
    with held(folder):
        _belongs(folder, config)
        yield Workspace(folder, config.store)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """No other process works in the folder meanwhile. Raises SteadyDancerError if one does, or it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("a+")
    except OSError as error:
        raise SteadyDancerError(f"{folder} cannot be used as a work folder: {error.strerror}.") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            owner = lock.read().strip() or "unknown"
            raise SteadyDancerError(
                f"{folder} is in use by another steadydancer (process {owner}).", "Wait for it, or use another folder."
            ) from None
        lock.seek(0)
        lock.truncate()
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def owning_config(folder: Path | str) -> dict | None:
    """The whole config recorded in a work folder, or None where there is none."""
    path = Path(folder).expanduser() / OWNER_FILE
    return _owner(path.parent)["config"] if path.is_file() else None


def config_for(overrides: list[str]) -> Config:
    """The config of the work folder that ``work=...`` names, if it has one already; else the demo's."""
    work = next((o.partition("=")[2] for o in overrides if o.startswith("work=")), None)
    owned = owning_config(work) if work else None
    return load("demo", overrides) if owned is None else override(owned, overrides)


def _owner(folder: Path) -> dict:
    try:
        record = yaml.safe_load((folder / OWNER_FILE).read_text())
        return {"chain": str(record["chain"]), "config": dict(record["config"])}
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise SteadyDancerError(f"{folder / OWNER_FILE} is damaged ({error}).", "Use a new work folder.") from None


def _belongs(folder: Path, config: Config) -> None:
    chain = uuid.uuid4().hex
    if (theirs := owning_config(folder)) is not None:
        changed = differences(identity(validate(theirs)), identity(config))
        if not changed:
            return
        if all(_may_change(*change) for change in changed):
            _own(folder, _owner(folder)["chain"], config)
            return
        store = validate(theirs).store
        published = store and any(
            map(commits.find, (Workspace(folder, store).dataset, Workspace(folder, store).encoded))
        )
        if published or any(folder.glob("*/COMMIT.json")) or (folder / "checkpoints").exists():
            lines = [f"  {key}: the folder has {old!r}, this run asks for {new!r}" for key, old, new in changed]
            raise UsageError(
                f"{folder} belongs to another config:\n" + "\n".join(lines),
                "Use another folder (work=...), or ask for what the folder has.",
            )
        chain = _owner(folder)["chain"]  # nothing was made by the other config yet: its first run failed
    elif others := sorted(p.name for p in folder.iterdir() if p.name != ".lock"):
        raise UsageError(
            f"{folder} is not a work folder: it holds {others[0]!r} and no {OWNER_FILE}.",
            "Name a new or an empty folder (work=...).",
        )
    _own(folder, chain, config)


MAY_CHANGE = ("rights", "curate", "caption", "animate", "evaluate")
"""Sections that only `curate` or only `evaluate` reads, each of which finds out by itself what they make outdated."""


def _may_change(key: str, old: object, new: object) -> bool:
    """Whether a folder may go on with another value. The rendered corpus never takes the place of somebody's videos."""
    return key.split(".")[0] in MAY_CHANGE or (key == "sources" and isinstance(old, list) and isinstance(new, list))


def _own(folder: Path, chain: str, config: Config) -> None:
    draft = folder / f".{OWNER_FILE}.draft"
    record = {"chain": chain, "config": config.model_dump(mode="json")}
    draft.write_text(yaml.safe_dump(record, sort_keys=False, allow_unicode=True))
    draft.rename(folder / OWNER_FILE)


def machine_suffices(resources: Resources, folder: Path) -> None:
    """Raises SteadyDancerError naming what this machine lacks of cores, memory or disk."""
    import psutil

    cpus = len(os.sched_getaffinity(0))
    if resources.cpus > cpus:
        raise SteadyDancerError(
            f"resources.cpus={resources.cpus}, this machine has {cpus}.",
            f"Set resources.cpus={cpus}, or join a cluster with resources.ray_address=...",
        )
    memory = min(psutil.virtual_memory().available, cgroup_memory()) / 2**30
    if resources.memory_gb > memory:
        raise SteadyDancerError(
            f"resources.memory_gb={resources.memory_gb:g}, {memory:.1f} GiB are free on this machine.",
            "Free some, use a larger machine, or lower resources.memory_gb if the work is smaller than the preset.",
        )
    existing = next(p for p in [folder, *folder.parents] if p.exists())
    used = sum(path.lstat().st_size for path in folder.rglob("*")) if folder.is_dir() else 0
    disk = (shutil.disk_usage(existing).free + used) / 2**30
    if resources.disk_gb > disk:
        raise SteadyDancerError(
            f"resources.disk_gb={resources.disk_gb:g}, {disk:.1f} GiB are free where {folder} lies, "
            "what it holds already counted in.",
            "Free some, choose another work folder, or lower resources.disk_gb if the work is smaller than the preset.",
        )


def cgroup_memory() -> float:
    """Bytes left under the control group's limit (containers), or infinity."""
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if not limit.is_file() or not used.is_file() or (text := limit.read_text().strip()) == "max":
        return float("inf")
    cache = sum(
        int(line.split()[1])
        for line in (limit.parent / "memory.stat").read_text().splitlines()
        if line.startswith(("inactive_file ", "active_file "))  # given back when asked for
    )
    return int(text) - int(used.read_text()) + cache
