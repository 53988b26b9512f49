"""The trainer: what one worker process does in one stage, from top to bottom."""

import itertools
import math
import time
from dataclasses import replace
from typing import NamedTuple

import torch
import torch.distributed as dist

from infra import commits
from infra.schema import Config
from model.checkpoint import PRECISION, build_model, load_model
from training import engine as deepspeed_engine
from training import signals
from training.adapters import make_trainable
from training.batches import Batches, Share
from training.checkpoint import Checkpoints, Progress, from_rank_0
from training.clips.data import Unreadable
from training.clips.randomness import Randomness
from training.clips.raw import open_clips
from training.job import Job
from training.objectives import build_objective, collate, passes
from training.observation import Observation
from training.saving import Saving

QUANTILES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Of the timesteps, at which validation looks."""


class NonFiniteLoss(signals.Together):
    """Too many steps had a loss or gradient that is no number. None of them changed the weights."""


class TooManyUnreadable(signals.Together):
    """More clips than train.max_unreadable cannot be read."""


class Told(NamedTuple):
    """What the workers agree on before a step."""

    readable: int
    """samples of the global batch that are there"""
    unreadable: int
    stop: bool
    """the driver asks for an end"""
    leaving: bool
    """a worker was told to go"""
    preempted: int
    """of all workers' notices that a node will be taken away the sum of the moments; 0: there is none"""


class Trainer:
    """One rank of a stage. Every method is called by all ranks together."""

    def __init__(self, job: Job):
        self.job, self.train = job, job.config.train
        self.stage = self.train.stages[job.number - 1]
        self.rank, self.world = dist.get_rank(), dist.get_world_size()
        self.device = _device()
        self.messages: list[str] = []

        data = commits.fetch(job.data, job.cache)
        self.clips, self.held_out = open_clips(data, job.config, self.device)
        if not len(self.held_out):
            self.held_out = self.clips
        self.randomness = Randomness(job.config.seed, job.number)

        parents = [data]
        if job.parent is not None:
            parents.append(commits.read(job.parent))
        model = starting_model(job.config, job.parent, PRECISION[self.train.precision], self.device)
        make_trainable(model, self.stage, self.randomness.weights_seed)
        # The student is sharded before the teacher comes: whole, the two together are the most a GPU would ever hold.
        self.engine = deepspeed_engine.student_engine(model, job.config, job.number, self.device, self.world)
        self.objective = build_objective(job.config, job.number, self.clips, self._teacher, self.device)
        self.batches = Batches(
            job.config, job.number, self.clips, self.objective, self.randomness, self.rank, self.world
        )
        self.checkpoints = Checkpoints(
            job.folder, job.identity, parents, self.train.keep_checkpoints, self.messages.append, self.train.timeout_s
        )
        self.observation = Observation(job, self.device, self.messages)
        self.preemption = 0
        self.progress = self._resume()
        self.saving = Saving(self.checkpoints, self.engine, self.progress, self.messages)

    def run(self) -> bool:
        """Trains to the last step; False if it was told to stop before, with what was reached checkpointed.

        Raises signals.Leaving, with the same done, where a worker was told to go; SteadyDancerErrors on all ranks.
        """
        try:
            return self._run()
        except signals.Together:
            self.saving.settle()
            raise
        finally:
            self.observation.tell(self.progress)
            self.batches.close()

    def _run(self) -> bool:
        progress, last = self.progress, self.stage.steps
        if not progress.validation:
            self.validate()
        while progress.step < last:
            share = self.batches.share(progress.step)
            told = self._agree(share)
            if told.unreadable:
                self._leave_out(share)
            if told.stop or told.leaving:
                self.saving.save(wait=True)
                if told.leaving:
                    raise signals.Leaving(f"A worker was told to go; step {progress.step} is checkpointed.")
                return False
            if told.preempted != self.preemption:
                self.preemption = told.preempted
                self.messages.append("A node will be taken away: a checkpoint is written, training goes on meanwhile.")
                self.saving.save()
            row = self.train_step(progress.step, share, told.readable)
            progress.history.append(row)
            progress.step += 1
            if not_taken(row):
                self._judge_skipped()
            ended = progress.step == last
            if ended or (self.train.validate_every and progress.step % self.train.validate_every == 0):
                self.validate()
            # Not while steps are not taken: the way back from there leads to weights of before.
            if ended or (not not_taken(row) and progress.step % self.train.checkpoint_every == 0):
                self.saving.save(wait=ended)
            self.observation.tell(progress)
        return True

    def train_step(self, step: int, share: Share, readable: int) -> dict:
        """One optimizer step over the ``readable`` samples of the global batch. Returns its row of the history.

        A step whose gradient is no number is not taken: DeepSpeed looks at the norm on all ranks before it steps.
        """
        started = time.perf_counter()
        rates = deepspeed_engine.set_learning_rate(self.engine, self.stage, step)
        row = {"step": step + 1, "clips": self.batches.clip_ids(step), "samples": readable, "applied": False}
        if not readable:
            nothing = dict.fromkeys(("loss", *self.objective.parts, "gradient_norm"), math.nan)
            return row | nothing | {"learning_rate": rates}
        names = ("total", *self.objective.parts)
        sums = torch.zeros(len(names), dtype=torch.float64, device=self.device)
        by_timestep = self.observation.empty_buckets()
        # DeepSpeed gives the mean over workers and micro-steps; wanted is that over the samples that are there.
        weight = self.batches.slots / self.train.micro_batch * passes(self.stage) / readable
        for micro in share.micro_batches:
            example, present_B = micro.example.to(self.device), micro.present_B.to(self.device)
            whole_B = torch.zeros_like(present_B)
            torch.manual_seed(micro.layer_seed)
            for losses in self.objective.losses(self.engine, example):
                there_B = {name: torch.where(present_B > 0, loss_B, 0.0) for name, loss_B in losses.items()}
                self.engine.backward(weight * there_B["total"].sum())
                for name, loss_B in there_B.items():
                    sums[names.index(name)] += loss_B.detach().double().sum()
                whole_B += there_B["total"].detach()
                self.engine.step()
            self.observation.count(by_timestep, example.timestep_B, whole_B, present_B)
        totals = torch.cat([sums / readable, by_timestep.flatten()])
        dist.all_reduce(totals)
        means = totals[: len(names)].tolist()
        row |= {
            "loss": means[0],
            **dict(zip(self.objective.parts, means[1:], strict=True)),
            "learning_rate": rates,
            "gradient_norm": float(self.engine.get_global_grad_norm()),
            "applied": bool(self.engine.was_step_applied()),
        }
        self.observation.step(
            row,
            totals[len(names) :].view_as(by_timestep),
            seconds=time.perf_counter() - started,
            waited_s=self.batches.waited_s,
            shape_THW=tuple(example.noisy_BCTHW.shape[2:]),
            progress=self.progress,
        )
        return row

    def validate(self) -> None:
        """The objective on held-out clips at nine fixed timestep quantiles and fixed noise, nothing dropped.

        Two calls with the same weights give the same number, so a difference is learning and not luck of timesteps.
        """
        clips, problems = min(self.train.validation_clips, len(self.held_out)), {}
        items = [(clip, quantile) for clip in range(clips) for quantile in range(len(QUANTILES))]
        names = ("total", *self.objective.parts)
        sums = torch.zeros(len(QUANTILES), len(names) + 1, dtype=torch.float64, device=self.device)
        self.engine.eval()
        for start in range(0, len(items), self.world):  # all ranks walk alike: ZeRO-3 gathers weights together
            mine = start + self.rank
            clip, quantile = items[min(mine, len(items) - 1)]
            draws = self.randomness.draws(mine, 1, pose_simulation=self.stage.pose_simulation, purpose="validation")
            try:
                read, counts = self.held_out[clip], float(mine < len(items))
            except Unreadable as problem:
                problems[problem.clip_id] = str(problem)
                read, counts = self.held_out.blank(clip), 0.0
            example = collate([self.objective.example(read, replace(draws, quantile=QUANTILES[quantile]))])
            with torch.no_grad():
                losses = self.objective.loss(self.engine, example.to(self.device))
            values = [losses[name].sum().double() for name in names]
            sums[quantile] += counts * torch.stack([*values, torch.ones_like(values[0])])
        self.engine.train()
        dist.all_reduce(sums)
        *means, count = sums.sum(0).tolist()
        if count < len(items):
            self._say_of_all("Validation goes without a clip.", problems)
        if not count:
            raise TooManyUnreadable("No held-out clip can be read.", "Run `encode` again, into a new work folder.")
        row = {"step": self.progress.step, **{n: m / count for n, m in zip(("loss", *names[1:]), means, strict=True)}}
        row |= {f"loss_q{100 * q:.0f}": float(s[0] / s[-1]) for q, s in zip(QUANTILES, sums, strict=True)}
        if wrong := [name for name, value in row.items() if not math.isfinite(value)]:
            raise NonFiniteLoss(
                f"Validation after step {self.progress.step} is no number: {', '.join(wrong)}.",
                "Lower train.stages.N.lr, or look at the held-out clips.",
            )
        self.progress.validation.append(row)
        self.observation.validation(row)

    def _teacher(self):
        return deepspeed_engine.frozen_teacher(self.job.config, self.device)

    def _resume(self) -> Progress:
        if self.rank == 0:
            self.checkpoints.sweep()
        if (commit := self._newest()) is None:
            return Progress()
        progress = self.checkpoints.load(self.engine, commit)
        self.messages.append(f"Stage {self.job.number} continues from its checkpoint of step {progress.step}.")
        return progress

    def _newest(self, up_to: float = math.inf) -> commits.Commit | None:
        newest = self.checkpoints.newest(up_to) if self.rank == 0 else None
        uri = from_rank_0(newest and newest.uri)
        return uri and commits.read(uri)

    def _agree(self, share: Share) -> Told:
        readable = sum(int(micro.present_B.sum()) for micro in share.micro_batches)
        stop = self.rank == 0 and (self.job.folder / signals.STOP).exists()
        said = [readable, len(share.unreadable), stop, signals.leaving(), signals.preempted()]
        counts = torch.tensor(said, dtype=torch.int64, device=self.device)
        dist.all_reduce(counts)
        readable, unreadable, stop, leaving, preempted = counts.tolist()
        return Told(readable, unreadable, bool(stop), bool(leaving), preempted)

    def _leave_out(self, share: Share) -> None:
        """Says which clips of this step cannot be read. Raises when they have become too many."""
        mine = {problem.clip_id: str(problem) for problem in share.unreadable}
        self.progress.unreadable |= self._say_of_all(f"Step {self.progress.step + 1} goes without a clip.", mine)
        if len(self.progress.unreadable) > self.train.max_unreadable:
            self.saving.save(wait=True)
            raise TooManyUnreadable(
                f"{len(self.progress.unreadable)} clips cannot be read, train.max_unreadable is "
                f"{self.train.max_unreadable}: {', '.join(sorted(self.progress.unreadable))}.",
                "Make the dataset again, or raise train.max_unreadable and run the same command again to go on.",
            )

    def _say_of_all(self, what: str, problems: dict[str, str]) -> dict[str, str]:
        """What any rank could not read, by clip; said of those of which it was not said before."""
        of_all = [None] * self.world
        dist.all_gather_object(of_all, problems)
        problems = {clip_id: problem for of_one in of_all for clip_id, problem in of_one.items()}
        for clip_id in problems.keys() - self.progress.unreadable.keys():
            self.messages.append(f"{what} {problems[clip_id]}")
        return problems

    def _judge_skipped(self) -> None:
        """After a step that was not taken: on with the next, back to the last checkpoint, or an end."""
        progress = self.progress
        row = progress.history[-1]
        clips = ", ".join(row["clips"])
        self.messages.append(
            f"Step {row['step']} was not taken: loss {row['loss']}, gradient norm {row['gradient_norm']}; "
            f"clips {clips}."
        )
        if progress.skipped > self.train.max_skipped:
            raise NonFiniteLoss(
                f"{progress.skipped} steps had a loss or gradient that is no number, train.max_skipped is "
                f"{self.train.max_skipped}; the last was step {row['step']} with clips {clips}.",
                "Lower train.stages.N.lr, set train.stages.N.warmup_steps, or look at these clips.",
            )
        since = progress.rolled_back[-1][1] if progress.rolled_back else 0
        after_last_taken = itertools.takewhile(lambda row: not row["applied"], reversed(progress.history[since:]))
        in_a_row = [row["step"] for row in after_last_taken if row["samples"]]
        if len(in_a_row) >= self.train.roll_back_after:
            self._roll_back(len(in_a_row), first=min(in_a_row))

    def _roll_back(self, in_a_row: int, first: int) -> None:
        """The weights of the last checkpoint, at the present step: the steps since then are given up."""
        progress = self.progress
        self.saving.settle()
        commit = self._newest(up_to=first - 1)
        earlier = self.checkpoints.load(self.engine, commit) if commit else None
        if earlier is None or [earlier.step] in [back[:1] for back in progress.rolled_back]:
            where = "before the first checkpoint" if earlier is None else f"again after going back to {earlier.step}"
            raise NonFiniteLoss(
                f"{in_a_row} steps in a row had a loss or gradient that is no number, {where}; the last is "
                f"{progress.step}.",
                "Lower train.stages.N.lr, or set train.stages.N.warmup_steps.",
            )
        progress.rolled_back.append([earlier.step, progress.step])
        self.messages.append(
            f"{in_a_row} steps in a row were not taken: back to the weights of step {earlier.step}, and on with the "
            f"clips after step {progress.step}."
        )


def not_taken(row: dict) -> bool:
    """Whether a step had clips, and a gradient that is no number."""
    return row["samples"] > 0 and not row["applied"]


def starting_model(
    config: Config, parent: str | None, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
):
    """The weights a stage starts from: those of the stage before, or the base model."""
    if parent is None:
        return build_model(config.model, config.seed, dtype, device)
    return load_model(commits.read(parent).path / "model", dtype, device)


def _device() -> torch.device:
    if not torch.cuda.is_available():
        return torch.device("cpu")
    from ray.train.torch import get_device

    return get_device()
