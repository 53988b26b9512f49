"""Checkpoints of a stage in progress: DeepSpeed's files and the history so far, as committed artifacts.

All ranks write into one uncommitted folder, which then becomes ``step-000123`` as a whole or not at all. What is read
back is the newest that belongs to this stage and whose every file still has its hash.
"""

import json
import shutil
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import torch.distributed as dist

from infra import commits
from infra.commits import Commit
from infra.errors import CorruptArtifact

TAG = "state"
KIND = "train_state"
PATTERN = "step-*"


@dataclass
class Progress:
    """What a run has seen, beside the weights."""

    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    """One row per step: loss, its parts, learning rate, gradient norm."""
    validation: dict[str, dict[str, float]] = field(default_factory=dict)
    """``start`` and ``end`` -> loss and parts at fixed noise."""


class Checkpoints:
    """The checkpoints of one stage under ``folder``, for the run identified by ``config`` and ``parents``."""

    def __init__(
        self, folder: Path, config: dict, parents: Iterable[Commit], keep: int, say: Callable[[str], None] = print
    ):
        self.folder, self.config, self.parents, self.keep, self.say = folder, config, tuple(parents), keep, say

    def newest(self) -> Commit | None:
        """The newest valid checkpoint. Damaged and foreign ones are passed over, and said so."""
        for path in sorted(self.folder.glob(PATTERN), reverse=True):
            try:
                commit = commits.verify(path)
            except (CorruptArtifact, commits.NotCommitted) as error:
                self.say(f"Checkpoint {path.name} is passed over. {error}")
                continue
            if self._belongs(commit):
                return commit
            self.say(f"Checkpoint {path.name} is passed over: it is of another config or other parents.")
        return None

    def load(self, engine, commit: Commit, partial: bool) -> Progress:
        """Restores weights and optimizer into ``engine`` on every rank; ``partial`` for one without frozen weights."""
        engine.load_checkpoint(str(commit.path / "deepspeed"), tag=TAG, load_module_strict=not partial)
        return Progress(**json.loads((commit.path / "progress.json").read_text()))

    def save(self, engine, progress: Progress, partial: bool) -> None:
        """Writes and commits a checkpoint; called by all ranks together. ``partial`` leaves frozen weights out."""
        with ExitStack() as open_draft:
            draft = None
            if dist.get_rank() == 0:
                draft = open_draft.enter_context(self._draft(progress))
            folder = Path(from_rank_0(str(draft)))
            engine.save_checkpoint(str(folder / "deepspeed"), tag=TAG, exclude_frozen_parameters=partial)
            if draft:
                (draft / "progress.json").write_text(json.dumps(vars(progress)))
            dist.barrier()
        if draft:
            self._retire(progress.step)
        dist.barrier()

    def _draft(self, progress: Progress):
        target = self.folder / f"step-{progress.step:06d}"
        meta = {"step": progress.step}
        return commits.write(target, KIND, config=self.config, parents=self.parents, meta=meta, replace=True)

    def _retire(self, step: int) -> None:
        """Keeps the newest; what claims to be ahead of this run was passed over when it started."""
        paths = sorted(self.folder.glob(PATTERN))
        ahead = [path for path in paths if int(path.name.removeprefix("step-")) > step]
        behind = [path for path in paths if path not in ahead]
        for path in [*ahead, *behind[: -self.keep]]:
            shutil.rmtree(path)

    def _belongs(self, commit: Commit) -> bool:
        mine = (KIND, commits.config_hash(self.config), [p.id for p in self.parents])
        return mine == (commit.kind, commit.config_hash, [p.id for p in commit.parents])


def from_rank_0(value):
    """What rank 0 gives, on every rank."""
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]
