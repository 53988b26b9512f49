"""A queue of runs: a folder with an entry for each, that says what runs and how far it is.

    QUEUE/NAME/config.yaml      the whole config, as it was when the entry was added
    QUEUE/NAME/entry.json       its state, replaced as a whole at every change
    QUEUE/NAME/attempt-1.log    all that the first attempt printed

A queue belongs to one machine. :mod:`training.queue.runner` runs it; everything here may be called meanwhile.
"""

import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from infra import storage
from infra.config import differences, dump, identity, load, separate
from infra.errors import CorruptArtifact, SteadyDancerError, UsageError
from infra.schema import Config
from training.queue.entry import NAME, Entry, needs

COMMANDS = ("curate", "encode", "train", "evaluate", "compare", "run")
"""What an entry may run: commands that continue what was interrupted and pass over what is committed."""


class Queue:
    """The entries of a folder. Raises SteadyDancerError where it cannot be read or written.

    The folder is made by the first entry. Raises UsageError for a file, and where the folder's own is not there.
    """

    def __init__(self, folder: Path | str):
        self.folder = Path(folder).expanduser().absolute()
        with _told(self.folder):
            if self.folder.exists() and not self.folder.is_dir():
                raise UsageError(f"{self.folder} is a file, and a queue is a folder.", "Name another one (--queue).")
            if not self.folder.parent.is_dir():
                raise UsageError(
                    f"{self.folder} cannot be a queue: there is no folder {self.folder.parent}.",
                    "Make that, or name another one (--queue).",
                )

    def add(
        self,
        configs: Sequence[tuple[str | None, Config]],
        *,
        command: Sequence[str] = ("train",),
        priority: int = 0,
        after: Sequence[str] = (),
    ) -> list[Entry]:
        """New entries, all or none, of (name, config); name None: that of the work folder, numbered if it is taken.

        ``priority``: the higher the earlier; among equals the one added first. Raises UsageError for a name that is
        taken or is none, a command that is no step of the chain, an unknown entry in ``after``, and a work folder
        that another config of the queue has.
        """
        if command[0] not in COMMANDS:
            raise UsageError(f"A queue runs {', '.join(COMMANDS)}; {command[0]!r} is none of them.")
        works = {str(Path(config.work).expanduser().resolve()) for _, config in configs}
        with self.editing():
            entries, damaged = self.read()
            taken = {entry.name for entry in entries} | damaged.keys()
            if unknown := [name for name in after if name not in taken]:
                raise UsageError(f"There is no entry {unknown[0]!r} in {self.folder} to come after.")
            used = [(e.name, e.work, c) for e in entries if (c := self._used_config(e, works))]
            number = max((entry.number for entry in entries), default=-1)
            new: list[tuple[Entry, Config]] = []
            for name, config in configs:
                name = _free_name(name, Path(config.work), taken)
                work = str(Path(config.work).expanduser().resolve())
                config = config.model_copy(update={"work": work})
                _one_config_per_folder(name, config, used)
                taken.add(name)
                used.append((name, work, config))
                number += 1
                facts = {"name": name, "number": number, "priority": priority, "after": list(after)}
                place = {"command": list(command), "work": work, "cwd": str(Path.cwd()), "since": time.time()}
                new.append((Entry(**facts, **place, **needs(config)), config))
            for entry, config in new:
                self._create(entry, config)
        return [entry for entry, _ in new]

    def read(self) -> tuple[list[Entry], dict[str, str]]:
        """The entries in the order in which they are to start, and what is wrong with those that cannot be read."""
        entries, damaged = [], {}
        with _told(self.folder):
            names = sorted(p.name for p in self.folder.glob("[!.]*") if p.is_dir()) if self.folder.exists() else []
        for name in names:
            try:
                entries.append(self.get(name))
            except SteadyDancerError as error:
                damaged[name] = str(error)
        return sorted(entries, key=lambda entry: (-entry.priority, entry.number)), damaged

    def get(self, name: str) -> Entry:
        """Raises UsageError where there is no such entry, CorruptArtifact where it cannot be read."""
        folder = self.folder / name
        if not re.fullmatch(NAME, name) or not folder.is_dir():
            raise UsageError(f"There is no entry {name!r} in {self.folder}.", "See: steadydancer queue list")
        path = folder / "entry.json"
        try:
            entry = Entry.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            what = error.strerror if isinstance(error, OSError) else _first_problem(error)
            raise CorruptArtifact(f"{path} is damaged ({what}).", f"Delete {folder} and add the run again.") from None
        if entry.name != name:
            raise CorruptArtifact(f"{path} is that of {entry.name!r}.", f"Delete {folder} and add the run again.")
        return entry

    def config(self, name: str) -> Config:
        """What the entry runs. Raises UsageError or CorruptArtifact."""
        self.get(name)
        try:
            return load(self.config_file(name))
        except UsageError as error:
            raise CorruptArtifact(f"{self.config_file(name)} is damaged. {error}") from None

    def config_file(self, name: str) -> Path:
        return self.folder / name / "config.yaml"

    def log_file(self, entry: Entry) -> Path:
        """What the last attempt printed; there is none before the first."""
        return self.folder / entry.name / f"attempt-{entry.attempt}.log"

    def cancel(self, name: str) -> Entry:
        """It will not run; a running one is told to write a checkpoint and stop. Raises UsageError for one that ended.

        :meth:`retry` takes it back.
        """
        with self.editing():
            entry = self.get(name)
            if entry.state not in ("waiting", "running"):
                raise UsageError(f"{name} is {entry.state} already.")
            if entry.alive:
                entry.stop()
                return self.change(entry, cancelling=True)
            return self.change(entry, state="cancelled")

    def retry(self, name: str, config: Config | None = None) -> Entry:
        """What failed or was cancelled waits again, and continues from its newest checkpoint.

        ``config``: with other settings of how the work is done (an entry that waits may be given them too). Raises
        UsageError for an entry that runs or is done, and for a config that makes something else.
        """
        with self.editing():
            entry = self.get(name)
            if entry.state in ("running", "done") or (entry.state == "waiting" and config is None):
                again = " Add its config once more to run it again." if entry.state == "done" else ""
                raise UsageError(f"{name} is {entry.state}: there is nothing to retry.{again}")
            taken = {}
            if config is not None:
                if changed := differences(identity(self.config(name)), identity(config)):
                    raise UsageError(f"{name} was added with another {changed[0][0]}.", "Add it under another name.")
                replace(self.config_file(name), dump(config.model_copy(update={"work": entry.work})))
                taken = needs(config)
            return self.change(entry, state="waiting", error=None, interruptions=0, **taken)

    def change(self, entry: Entry, **facts) -> Entry:
        """``entry`` with other facts, written down. Only inside :meth:`editing`."""
        if facts.get("state", entry.state) != entry.state:
            facts = {"since": time.time(), "cancelling": False, "pid": None, "started": None, "gpus": []} | facts
        changed = Entry(**entry.model_dump() | facts)
        replace(self.folder / entry.name / "entry.json", changed.model_dump_json(indent=1))
        return changed

    @contextmanager
    def editing(self) -> Iterator[None]:
        """Nobody else changes an entry meanwhile."""
        with _told(self.folder), storage.locked(self.folder / ".editing"):
            yield

    def _create(self, entry: Entry, config: Config) -> None:
        draft = self.folder / f".{entry.name}.draft"
        shutil.rmtree(draft, ignore_errors=True)  # of an `add` that was killed
        draft.mkdir()
        replace(draft / "config.yaml", dump(config))
        replace(draft / "entry.json", entry.model_dump_json(indent=1))
        draft.rename(self.folder / entry.name)

    def _used_config(self, entry: Entry, works: set[str]) -> Config | None:
        """Of an entry that has one of the ``works``, or will have it; not where it is damaged."""
        if entry.work not in works or (entry.state == "cancelled" and not entry.attempt):
            return None
        try:
            return self.config(entry.name)
        except CorruptArtifact:
            return None


def add(
    folder: Path | str,
    files: Sequence[str],
    overrides: Sequence[str] = (),
    *,
    name: str | None = None,
    command: Sequence[str] = ("train",),
    priority: int = 0,
    after: Sequence[str] = (),
) -> list[Entry]:
    """An entry of each preset or YAML file with the ``overrides``. Raises as ``load`` and :meth:`Queue.add`."""
    if not files:
        raise UsageError("Name at least one preset or config file to add.")
    if name is not None and len(files) > 1:
        raise UsageError(f"--name is for one config, {len(files)} are given.", "Add them one by one, or leave it out.")
    configs = [(name, _loaded(file, overrides)) for file in files]
    return Queue(folder).add(configs, command=command, priority=priority, after=after)


def _loaded(file: str, overrides: Sequence[str]) -> Config:
    try:
        return load(file, overrides)
    except UsageError as error:
        for key, _, text in (item.partition("=") for item in overrides):
            if len(list(separate(text))) > 1 and key in str(error):
                hint = f"A run takes one value of {key}. To compare several: steadydancer sweep"
                raise UsageError(str(error), hint) from None
        raise


def _free_name(name: str | None, work: Path, taken: set[str]) -> str:
    if name is None:
        stem = re.sub(r"^[^A-Za-z0-9]+|[^A-Za-z0-9._=,+-]+", "-", work.name).strip("-")[:90] or "run"
        return next(n for i in range(1, len(taken) + 2) if (n := stem if i == 1 else f"{stem}-{i}") not in taken)
    if not re.fullmatch(NAME, name):
        raise UsageError(
            f"{name!r} is no name of an entry.", "Letters, digits and . _ = , + - up to 100, a letter or digit first."
        )
    if name in taken:
        raise UsageError(f"There is an entry {name!r} already.", "Choose another --name, or `queue retry` that one.")
    return name


def _one_config_per_folder(name: str, config: Config, used: list[tuple[str, str, Config]]) -> None:
    for other, work, theirs in used:
        if work == config.work and (changed := differences(identity(theirs), identity(config))):
            lines = [f"  {key}: {other} has {old!r}, {name} has {new!r}" for key, old, new in changed]
            raise UsageError(
                f"{name} would use {work}, the work folder of {other}, with another config:\n" + "\n".join(lines),
                "Give it a folder of its own (work=...).",
            )


def _first_problem(error: ValidationError) -> str:
    problem = error.errors()[0]
    where = ".".join(map(str, problem["loc"]))
    return f"{where}: {problem['msg']}" if where else problem["msg"]


def replace(path: Path, text: str) -> None:
    """The file has the old or the new content, whatever happens."""
    draft = path.with_name(f".{path.name}.draft")
    with draft.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SteadyDancerError(
            f"{folder} cannot be used as a queue: {error.strerror or error}.",
            "Free some disk, correct the rights, or name another folder (--queue).",
        ) from error
