"""The trainer: what one worker process does in one stage, from top to bottom."""

import json
import math
import resource
import time
from dataclasses import replace

import torch
import torch.distributed as dist

from infra import commits
from infra.errors import SteadyDancerError
from infra.schema import Config
from model.checkpoint import build_model, load_model
from training import engine as deepspeed_engine
from training.adapters import make_trainable
from training.checkpoint import Checkpoints, Progress, from_rank_0
from training.data import EncodedDataset
from training.job import Job
from training.objectives import Example, build_objective
from training.randomness import Draws, Randomness

VALIDATION_QUANTILES = (0.1, 0.3, 0.5, 0.7, 0.9)
VALIDATION_CLIPS = 2


class NonFiniteLoss(SteadyDancerError):
    """The loss or its gradient is NaN or infinite. Nothing of this step is checkpointed."""


class Trainer:
    """One rank of a stage. Every method is called by all ranks together."""

    def __init__(self, job: Job):
        self.job, self.train_config = job, job.config.train
        self.stage = job.config.train.stages[job.number - 1]
        self.rank, self.world = dist.get_rank(), dist.get_world_size()
        self.global_batch = self.world * self.train_config.accumulation
        self.device = _device()
        self.messages: list[str] = []

        encoded = commits.fetch(job.encoded, job.cache)
        self.clips = EncodedDataset(encoded, "train")
        self.held_out = EncodedDataset(encoded, "val")
        if not len(self.held_out):
            self.held_out = self.clips
        self.randomness = Randomness(job.config.seed, job.number)

        parents = [encoded]
        if job.parent is not None:
            parents.append(commits.read(job.parent))
        model = starting_model(job.config, job.parent)
        make_trainable(model, self.stage, self.randomness.weights_seed)
        self.partial = self.stage.trainable == "lora"
        self.objective = build_objective(job.config, job.number, self.clips, self._teacher, self.device)
        self.engine = deepspeed_engine.student_engine(model, job.config, job.number, self.device)
        self.checkpoints = Checkpoints(
            job.folder, job.identity, parents, self.train_config.keep_checkpoints, self.messages.append
        )
        self.progress = self._resume()

    def run(self) -> bool:
        """Trains to the last step; False if it was told to stop before, with what was reached checkpointed."""
        progress, last = self.progress, self.stage.steps
        if "start" not in progress.validation:
            progress.validation["start"] = self.validate()
        while progress.step < last:
            if self._told_to_stop():
                self.checkpoints.save(self.engine, progress, self.partial)
                return False
            started = time.perf_counter()
            row = self.train_step(progress.step)
            progress.history.append(row)
            progress.step += 1
            self._observe(row, time.perf_counter() - started)
            if progress.step == last:
                progress.validation["end"] = self.validate()
            if progress.step == last or progress.step % self.train_config.checkpoint_every == 0:
                self.checkpoints.save(self.engine, progress, self.partial)
        return True

    def train_step(self, step: int) -> dict[str, float]:
        """One optimizer step over the global batch. Returns losses averaged over it, learning rate, gradient norm.

        Raises NonFiniteLoss on every rank; the weights in memory are not to be used then.
        """
        learning_rate = deepspeed_engine.set_learning_rate(self.engine, self.train_config, step)
        names = ("total", *self.objective.parts)
        sums = torch.zeros(len(names), dtype=torch.float64, device=self.device)
        for micro in range(self.train_config.accumulation):
            index = step * self.global_batch + micro * self.world + self.rank
            draws = self.randomness.draws(
                index,
                self.global_batch,
                text_dropout=self.stage.text_dropout,
                pose_dropout=self.stage.pose_dropout,
                pose_simulation=self.stage.pose_simulation,
            )
            example = self._example(self.clips, self.randomness.sample(index, len(self.clips)), draws)
            torch.manual_seed(draws.layer_seed)
            losses = self.objective.loss(self.engine, example)
            sums += torch.stack([losses[name].detach().double() for name in names])
            self.engine.backward(losses["total"])
            if micro == self.train_config.accumulation - 1:
                means = self._mean_over_ranks(sums / self.train_config.accumulation)
                _finite(means[0], f"the loss of step {step + 1}")
            self.engine.step()
        gradient_norm = float(self.engine.get_global_grad_norm())
        _finite(gradient_norm, f"the gradient norm of step {step + 1}")
        return {
            "step": step + 1,
            "loss": means[0],
            **dict(zip(self.objective.parts, means[1:], strict=True)),
            "learning_rate": learning_rate,
            "gradient_norm": gradient_norm,
        }

    def validate(self) -> dict[str, float]:
        """The objective on held-out clips at fixed timestep quantiles and fixed noise, nothing dropped.

        Two calls with the same weights give the same number, so a difference is learning and not luck of timesteps.
        """
        clips = min(VALIDATION_CLIPS, len(self.held_out))
        items = [(clip, quantile) for clip in range(clips) for quantile in VALIDATION_QUANTILES]
        names = ("total", *self.objective.parts)
        sums = torch.zeros(len(names), dtype=torch.float64, device=self.device)
        self.engine.eval()
        for start in range(0, len(items), self.world):  # all ranks walk alike: ZeRO-3 gathers weights together
            mine = start + self.rank
            clip, quantile = items[min(mine, len(items) - 1)]
            draws = self.randomness.draws(mine, 1, pose_simulation=self.stage.pose_simulation, purpose="validation")
            example = self._example(self.held_out, clip, replace(draws, quantile=quantile))
            with torch.no_grad():
                losses = self.objective.loss(self.engine, example)
            if mine < len(items):
                sums += torch.stack([losses[name].double() for name in names])
        self.engine.train()
        means = self._mean_over_ranks(sums * self.world / len(items))
        return dict(zip(("loss", *self.objective.parts), means, strict=True))

    def _teacher(self):
        return deepspeed_engine.frozen_teacher(self.job.config, self.device)

    def _resume(self) -> Progress:
        newest = self.checkpoints.newest() if self.rank == 0 else None
        uri = from_rank_0(newest and newest.uri)
        if uri is None:
            return Progress()
        progress = self.checkpoints.load(self.engine, commits.read(uri), self.partial)
        self.messages.append(f"Stage {self.job.number} continues from its checkpoint of step {progress.step}.")
        return progress

    def _example(self, clips: EncodedDataset, row: int, draws: Draws) -> Example:
        """Raises on all ranks what one of them met, so that no rank waits for one that is gone."""
        example = problem = None
        try:
            example = self.objective.example(clips[row], draws, self.device)
        except SteadyDancerError as error:
            problem = error
        failed = torch.tensor([int(problem is not None)], device=self.device)
        dist.all_reduce(failed, dist.ReduceOp.MAX)
        if failed.item():
            problems = [None] * self.world
            dist.all_gather_object(problems, problem)
            raise next(p for p in problems if p is not None)
        return example

    def _mean_over_ranks(self, values: torch.Tensor) -> list[float]:
        values = values.clone()
        dist.all_reduce(values)
        return (values / self.world).tolist()

    def _told_to_stop(self) -> bool:
        return from_rank_0((self.job.folder / "stop").exists())

    def _observe(self, row: dict[str, float], seconds: float) -> None:
        if self.rank != 0:
            return
        live = {"step": row["step"], "loss": row["loss"], "messages": self.messages}
        draft = self.job.folder / "live.draft"
        draft.write_text(json.dumps(live))
        draft.rename(self.job.folder / "live.json")
        if self.job.run is not None:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
            observed = {"step_seconds": seconds, "peak_memory_gb": peak}
            self.job.run.log_metrics({**row, **observed}, step=row["step"])


def starting_model(config: Config, parent: str | None):
    """The weights a stage starts from: those of the stage before, or the base model."""
    if parent is None:
        return build_model(config.model, config.seed)
    return load_model(commits.read(parent).path / "model")


def _device() -> torch.device:
    if not torch.cuda.is_available():
        return torch.device("cpu")
    from ray.train.torch import get_device

    return get_device()


def _finite(value: float, what: str) -> None:
    if not math.isfinite(value):
        raise NonFiniteLoss(
            f"{what} is {value}.", "Lower train.stages.N.lr, set train.warmup_steps, or look at the clips of this step."
        )
