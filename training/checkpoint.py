"""Checkpoints of a stage in progress, as committed artifacts.

A checkpoint holds every trained parameter whole, by its name, and never a frozen one: ``trained-*.safetensors`` (fp32
values), ``moments-*.safetensors`` (Adam's) and ``progress.json``. So it can be read by any number of workers under any
ZeRO stage, hashed file by file, and opened without running code of it. All ranks write into one uncommitted folder,
which then becomes ``step-000123`` as a whole or not at all. What is read back is the newest that belongs to this stage
and whose every file still has its hash.

The weights are copied to host memory while training waits; writing, hashing and committing go on beside it.
"""

import json
import math
import shutil
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors import safe_open
from safetensors.torch import save_file

from infra import commits
from infra.commits import Commit
from infra.errors import CorruptArtifact, SteadyDancerError
from training import zero_state
from training.signals import Together

KIND = "train_state"
PATTERN = "step-*"
TRAINED, MOMENTS, PROGRESS = "trained", "moments", "progress.json"
_POLL_S = 0.02


class NotSaved(Together):
    """A checkpoint could not be written. The ones before it are there still."""


@dataclass
class Progress:
    """What a run has seen, beside the weights."""

    step: int = 0
    optimizer_steps: int = 0
    """Without those that were skipped."""
    history: list[dict] = field(default_factory=list)
    """One row per step: clips, loss, its parts, learning rate, gradient norm, whether it was applied."""
    validation: list[dict[str, float]] = field(default_factory=list)
    """One row per validation: step, loss and parts at fixed noise, and the loss at each quantile of the timesteps."""
    unreadable: dict[str, str] = field(default_factory=dict)
    """Clip -> why it was left out."""
    rolled_back: list[list[int]] = field(default_factory=list)
    """[from, to]: steps whose work was given up, their clips passed over."""

    @property
    def skipped(self) -> int:
        """Steps that were not taken, their gradient being no number."""
        return sum(not row["applied"] and row["samples"] > 0 for row in self.history)


class Checkpoints:
    """The checkpoints of one stage under ``folder``, for the run identified by ``config`` and ``parents``."""

    def __init__(
        self,
        folder: Path,
        config: dict,
        parents: Iterable[Commit],
        keep: int,
        say: Callable[[str], None] = print,
        timeout_s: float = 1800,
    ):
        self.folder, self.config, self.parents, self.keep, self.say = folder, config, tuple(parents), keep, say
        self.timeout_s = timeout_s
        self._writing: threading.Thread | None = None
        self._fault: str | None = None

    def newest(self, up_to: float = math.inf) -> Commit | None:
        """The newest valid checkpoint, of step ``up_to`` at most. Damaged ones are passed over, and said so.

        Raises SteadyDancerError for one of another config or other parents: a run in this place would push it out.
        """
        for path in reversed(self._paths()):
            if _step(path) > up_to:
                continue
            try:
                commit = commits.verify(path)
            except (CorruptArtifact, commits.NotCommitted, OSError) as error:
                self.say(f"Checkpoint {path.name} is passed over. {error}")
                continue
            if not self._belongs(commit):
                raise SteadyDancerError(
                    f"{path} is a checkpoint of another run: of another config, dataset or parent.",
                    f"Ask for what it was begun with, use another work folder, or delete {self.folder}.",
                )
            return commit
        return None

    def sweep(self) -> None:
        """Removes what killed writers left. Nobody writes here meanwhile: the work folder belongs to one run."""
        for draft in self.folder.glob(f".{PATTERN}.draft~*"):
            shutil.rmtree(draft, ignore_errors=True)

    def load(self, engine, commit: Commit) -> Progress:
        """Restores weights and optimizer on every rank.

        Raises CorruptArtifact, on all ranks, where the tensors are not those that the model trains.
        """
        progress, tensors = read_progress(commit), _Stored(commit, (TRAINED, MOMENTS))
        wanted = {name for name, _ in zero_state.trainable(engine)}
        if wanted != (held := {name for name in tensors.names if "/" not in name}):
            raise CorruptArtifact(
                f"{commit.uri} is not of this model: {len(wanted ^ held)} tensors differ, "
                f"such as {min(wanted ^ held)}.",
                "Delete this folder and run the same command again.",
            )
        zero_state.restore(engine, progress.optimizer_steps, tensors.read)
        return progress

    def save(self, engine, progress: Progress) -> None:
        """Copies the state and begins to write it; called by all ranks together. Raises as :meth:`finish`."""
        self.finish()
        progress.optimizer_steps = zero_state.optimizer_steps(engine)
        open_draft, draft = ExitStack(), None
        if dist.get_rank() == 0:
            try:
                draft = str(open_draft.enter_context(self._draft(progress)))
            except OSError as error:
                self._fault = str(error)
        if (draft := from_rank_0(draft)) is None:
            return self.finish()
        mine, folder, content = _my_share(engine), Path(draft), json.dumps(vars(progress))
        self._writing = threading.Thread(
            target=self._write, args=(open_draft, folder, mine, content, progress.step), name="checkpoint"
        )
        self._writing.start()
        return None

    def finish(self) -> None:
        """Waits until the checkpoint that is being written is there. Called by all ranks together.

        Raises NotSaved on all of them if it could not be written.
        """
        if self._writing is not None:
            self._writing.join()
            self._writing = None
        fault, self._fault = from_rank_0(self._fault), None
        if fault is not None:
            raise NotSaved(
                f"The checkpoint could not be written: {fault}",
                f"Free some space where {self.folder} lies, then run the same command again.",
            )

    def _write(self, open_draft: ExitStack, folder: Path, mine: dict, content: str, step: int) -> None:
        """What a rank writes; rank 0 then commits what all have written. What goes wrong is told by :meth:`finish`."""
        rank, world = dist.get_rank(), dist.get_world_size()
        done, failed = (folder / f".rank-{rank:04d}.{how}" for how in ("done", "failed"))
        try:
            for kind, tensors in mine.items():
                if tensors:
                    save_file(tensors, folder / f"{kind}-{rank:04d}.safetensors", metadata={"format": "pt"})
            mine.clear()
            done.touch()
        except Exception as error:  # noqa: BLE001 - told to rank 0, and by it to all
            self._fault = f"rank {rank}: {error}"
            _told(failed, self._fault)
            if rank:
                return
        if rank:
            return
        try:
            with open_draft:
                self._wait_for_all(folder, world)
                (folder / PROGRESS).write_text(content)
        except Exception as error:  # noqa: BLE001 - raised on all ranks by finish()
            self._fault = str(error)
            return
        try:
            self._retire(step)
        except OSError as error:
            self.say(f"An old checkpoint could not be removed: {error}")

    def _wait_for_all(self, folder: Path, world: int) -> None:
        deadline = time.monotonic() + self.timeout_s
        while True:
            if failed := sorted(folder.glob(".rank-*.failed")):
                raise OSError(failed[0].read_text() or f"{failed[0].name}: it could not say why")
            done = sorted(folder.glob(".rank-*.done"))
            if len(done) == world:
                break
            if time.monotonic() > deadline:
                raise TimeoutError(f"after {self.timeout_s:.0f} s {len(done)} of {world} ranks had written")
            time.sleep(_POLL_S)
        for path in done:
            path.unlink()

    def _draft(self, progress: Progress):
        target = self.folder / f"step-{progress.step:06d}"
        meta = {"step": progress.step}
        return commits.write(target, KIND, config=self.config, parents=self.parents, meta=meta, replace=True)

    def _retire(self, step: int) -> None:
        """Keeps the newest; what is ahead of this run was damaged, and passed over when it started."""
        ahead = [path for path in self._paths() if _step(path) > step]
        behind = [path for path in self._paths() if _step(path) <= step]
        for path in [*ahead, *behind[: -self.keep]]:
            shutil.rmtree(path)

    def _paths(self) -> list[Path]:
        """In the order of their steps."""
        found = (path for path in self.folder.glob(PATTERN) if path.name.removeprefix("step-").isdigit())
        return sorted(found, key=_step)

    def _belongs(self, commit: Commit) -> bool:
        mine = (KIND, commits.config_hash(self.config), [p.id for p in self.parents])
        return mine == (commit.kind, commit.config_hash, [p.id for p in commit.parents])


def _step(path: Path) -> int:
    return int(path.name.removeprefix("step-"))


def read_progress(commit: Commit) -> Progress:
    """What the run of a checkpoint has seen."""
    return Progress(**json.loads((commit.path / PROGRESS).read_text()))


def read_trained(commit: Commit) -> dict[str, torch.Tensor]:
    """The trained parameters of a checkpoint by name, fp32."""
    stored = _Stored(commit, (TRAINED,))
    return {name: stored.read(name) for name in stored.names}


def from_rank_0(value):
    """What rank 0 gives, on every rank."""
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


class _Stored:
    """The tensors of a checkpoint's files by name, read one by one."""

    def __init__(self, commit: Commit, kinds: Iterable[str]):
        files = [name for name in commit.files if name.startswith(tuple(kinds))]
        self._files = [safe_open(commit.path / name, "pt") for name in sorted(files)]
        self._where = {name: file for file in self._files for name in file.keys()}  # noqa: SIM118

    @property
    def names(self) -> list[str]:
        return sorted(self._where)

    def read(self, name: str) -> torch.Tensor:
        return self._where[name].get_tensor(name)


def _my_share(engine) -> dict[str, dict[str, torch.Tensor]]:
    """Copies in host memory of the tensors that this rank writes."""
    rank, world = dist.get_rank(), dist.get_world_size()
    share: dict[str, dict[str, torch.Tensor]] = {TRAINED: {}, MOMENTS: {}}
    for number, name, tensor in zero_state.gathered(engine):
        if number % world == rank:
            share[MOMENTS if "/" in name else TRAINED][name] = tensor.detach().to("cpu", copy=True)
    return share


def _told(path: Path, text: str) -> None:
    """Leaves a note for rank 0, as far as a full disk lets it."""
    path.touch()
    try:
        path.write_text(text)
    except OSError:
        return  # the empty file says enough
