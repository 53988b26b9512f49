"""A worker's part of a global batch: which samples it works on, read and noised ahead of time.

Sample ``position`` of a global batch belongs to micro-batch ``position // micro_batch``; the workers take these in
turn. So what a sample is and which draws it gets depends on its number alone, and only who works on it on the workers.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from infra.schema import Config
from training.clips.data import Clips, Unreadable
from training.clips.order import Order
from training.clips.prefetch import Prefetch
from training.clips.randomness import Draws, Randomness
from training.engine import micro_steps
from training.objectives import ActionSupervision, Example, collate


class MicroBatch(NamedTuple):
    """What goes through the model at once."""

    example: Example
    present_B: Tensor
    """1, or 0 where a sample of zeros stands in: a clip that cannot be read, a place that the batch does not fill."""
    layer_seed: int
    """Seeds the dropout inside the network."""


class Share(NamedTuple):
    """One worker's part of one step."""

    micro_batches: list[MicroBatch]
    unreadable: list[Unreadable]


class Batches:
    """The shares of one worker, by step."""

    def __init__(
        self,
        config: Config,
        number: int,
        clips: Clips,
        objective: ActionSupervision,
        randomness: Randomness,
        rank: int,
        world: int,
    ):
        self.train, self.stage = config.train, config.train.stages[number - 1]
        self.clips, self.objective, self.randomness = clips, objective, randomness
        self.rank, self.world = rank, world
        self.order = Order([clips.bucket(row) for row in range(len(clips))], self.train.batch, randomness)
        self.micro_steps = micro_steps(self.train, world)
        self._ahead = Prefetch(self._share, self.train.prefetch)

    @property
    def slots(self) -> int:
        """Places of samples in a step, over all workers; those beyond the batch stay empty."""
        return self.micro_steps * self.world * self.train.micro_batch

    @property
    def waited_s(self) -> float:
        """How long the last :meth:`share` made its caller wait."""
        return self._ahead.waited_s

    def clip_ids(self, step: int) -> list[str]:
        """Of the whole global batch, in the order of its samples."""
        return [self.clips.rows[row]["clip_id"] for row in self.order.batch(step)]

    def share(self, step: int) -> Share:
        return self._ahead.get(step)

    def draws(self, step: int, position: int) -> Draws:
        return self.randomness.draws(
            step * self.train.batch + position,
            self.train.batch,
            text_dropout=self.stage.text_dropout,
            pose_dropout=self.stage.pose_dropout,
            pose_simulation=self.stage.pose_simulation,
        )

    def close(self) -> None:
        self._ahead.close()

    def _share(self, step: int) -> Share:
        rows, unreadable, micro_batches = self.order.batch(step), [], []
        for micro in range(self.micro_steps):
            first = (micro * self.world + self.rank) * self.train.micro_batch
            positions = range(first, first + self.train.micro_batch)
            examples, present = [], []
            for position in positions:
                row, draws = rows[position % len(rows)], self.draws(step, position % len(rows))
                clip = None
                if position < len(rows):
                    try:
                        clip = self.clips[row]
                    except Unreadable as problem:
                        unreadable.append(problem)
                present.append(float(clip is not None))
                examples.append(self.objective.example(self.clips.blank(row) if clip is None else clip, draws))
            seed = self.draws(step, first % len(rows)).layer_seed
            micro_batches.append(MicroBatch(collate(examples), torch.tensor(present), seed))
        return Share(micro_batches, unreadable)
