"""What the three stages minimise (paper section 3; specification 6.1, 6.2).

Shapes: B batch, C channels, T latent frames, H W latent height and width.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from infra.errors import SteadyDancerError
from infra.schema import Config, Stage
from model.conditions import Conditions, assemble
from model.encoders import Encoders, build_encoders
from model.inputs import DrawnPoses, pose_latent
from model.pose.perturbation import simulate_discontinuity
from model.pose.tracks import PoseTrack
from model.resolution import SPACE
from training.clips.data import Clips, EncodedClip
from training.clips.randomness import Draws, sigma_of

Velocity = Callable[[Tensor, Tensor, Conditions], Tensor]
"""(noisy latent (B,16,T,H,W), timestep (B,) fp32, conditions) -> velocity (B,16,T,H,W)."""


class Example(NamedTuple):
    """One noised sample, or several of one shape."""

    noisy_BCTHW: Tensor
    target_BCTHW: Tensor
    """v* = noise - x0."""
    timestep_B: Tensor
    """1000 sigma in fp32: bf16 has 294 values between 0 and 1000."""
    conditions: Conditions

    def to(self, device: torch.device | str) -> "Example":
        return Example(*(part.to(device) for part in self))


def collate(examples: Sequence[Example]) -> Example:
    """The examples as one batch, in their order. Raises SteadyDancerError unless they are of one shape."""
    if len(shapes := {tuple(example.noisy_BCTHW.shape[1:]) for example in examples}) != 1:
        raise SteadyDancerError(
            f"A batch is of clips of one shape; these {len(examples)} are of {sorted(shapes) or 'none'}.",
            "Take the clips of a batch from one bucket.",
        )
    noisy, target, timestep, conditions = zip(*examples, strict=True)
    return Example(
        torch.cat(noisy),
        torch.cat(target),
        torch.cat(timestep),
        Conditions(*map(torch.cat, zip(*conditions, strict=True))),
    )


class ActionSupervision:
    """Stage 1: flow matching. x_t = (1 - sigma) x0 + sigma noise; loss = MSE(v, noise - x0) in fp32.

    With ``loss_weighting: bell`` it is weighted by the timestep, see :meth:`weight`.
    """

    parts: tuple[str, ...] = ("fidelity",)

    def __init__(self, stage: Stage, null_text: np.ndarray):
        self.stage, self.null_text = stage, torch.from_numpy(null_text)
        self._mean_bell = _mean_bell(stage) if stage.loss_weighting == "bell" else 1.0

    def example(self, clip: EncodedClip, draws: Draws) -> Example:
        """The clip with the noise, timestep and dropped conditions that ``draws`` decided: B = 1, on the CPU."""
        sigma = sigma_of(draws.quantile, self.stage)
        latent = torch.from_numpy(clip.latent)[None]
        noise = torch.from_numpy(draws.noise(clip.latent.shape))[None]
        conditions = assemble(
            torch.from_numpy(clip.image_latent)[None],
            torch.from_numpy(self.pose_latent(clip, draws))[None],
            torch.from_numpy(clip.clip_image)[None],
            torch.from_numpy(clip.clip_pose)[None],
            [torch.from_numpy(clip.text)],
        )
        if draws.drop_text:
            conditions = conditions.with_text([self.null_text])
        if draws.drop_pose:
            conditions = conditions.without_pose()
        timestep = torch.tensor([1000.0 * sigma], dtype=torch.float32)
        return Example((1 - sigma) * latent + sigma * noise, noise - latent, timestep, conditions)

    def pose_latent(self, clip: EncodedClip, draws: Draws) -> np.ndarray:
        """(16, T, H, W) latent of the pose video."""
        return clip.pose_latent

    def losses(self, student: Velocity, example: Example) -> Iterator[dict[str, Tensor]]:
        """Pass by pass, of every sample, (B,) in fp32: the parts, unweighted, and ``total``, the summand of this pass.

        Each is to go through the backward pass before the next is asked for: what autograd keeps of one pass is half of
        the memory that two together take.
        """
        velocity = student(example.noisy_BCTHW, example.timestep_B, example.conditions)
        fidelity = squared_error(velocity, example.target_BCTHW)
        yield {"total": self.weight(example.timestep_B) * fidelity, "fidelity": fidelity}

    def loss(self, student: Velocity, example: Example) -> dict[str, Tensor]:
        """All passes at once; the mean of ``total`` is what is minimised."""
        whole: dict[str, Tensor] = {}
        for losses in self.losses(student, example):
            whole |= {name: whole.get(name, 0) + loss_B for name, loss_B in losses.items()}
        return whole

    def weight(self, timestep_B: Tensor) -> Tensor:
        """(B,) what a sample's loss counts: 1, or exp(-2 ((t-500)/1000)^2) over its mean.

        The mean is that over the stage's own distribution of timesteps, so that weights are 1 on average and a learning
        rate means the same with and without them.
        """
        if self.stage.loss_weighting == "none":
            return torch.ones_like(timestep_B)
        return torch.exp(-2 * ((timestep_B - 500) / 1000) ** 2) / self._mean_bell


class ConditionDistillation(ActionSupervision):
    """Stage 2: L_fidelity + w L_distill (paper, section 3.3).

    L_fidelity is the flow matching loss of the conditional velocity; L_distill holds the student's unconditional
    velocity to that of the frozen base Wan I2V: || v_student^u(x_t, t) - v_teacher^u(x_t, t) ||^2. Unconditional means
    without pose: image and text stay (specification 6.2, choice a), or with ``unconditional: pose_and_text`` the image
    alone (choice b), the text being the empty caption for both. The timestep's weight is of both parts alike: w is
    the same at all timesteps.

    ``distillation: normal`` is the ablation that the paper reports to collapse: the conditional velocity is held to the
    teacher's, which reads the same image and text and knows no pose. The student is called once then, and twice
    otherwise.
    """

    parts = ("fidelity", "distill")

    def __init__(self, stage: Stage, null_text: np.ndarray, teacher: Velocity):
        super().__init__(stage, null_text)
        self.teacher = teacher

    def losses(self, student: Velocity, example: Example) -> Iterator[dict[str, Tensor]]:
        noisy, timestep, conditions = example.noisy_BCTHW, example.timestep_B, example.conditions
        weight, share = self.weight(timestep), self.stage.distill_weight
        velocity = student(noisy, timestep, conditions)
        fidelity = squared_error(velocity, example.target_BCTHW)
        if self.stage.distillation == "normal":
            distill = squared_error(velocity, self._anchor(example, conditions))
            yield {"total": weight * (fidelity + share * distill), "fidelity": fidelity, "distill": distill}
            return
        yield {"total": weight * fidelity, "fidelity": fidelity}
        held = self._unconditional(conditions)
        distill = squared_error(student(noisy, timestep, held), self._anchor(example, held))
        yield {"total": weight * share * distill, "distill": distill}

    def _anchor(self, example: Example, conditions: Conditions) -> Tensor:
        with torch.no_grad():
            return self.teacher(example.noisy_BCTHW, example.timestep_B, conditions)

    def _unconditional(self, conditions: Conditions) -> Conditions:
        unposed = conditions.without_pose()
        if self.stage.unconditional == "pose":
            return unposed
        return unposed.with_text([self.null_text] * len(unposed.text_BLD))


class MotionDiscontinuity(ActionSupervision):
    """Stage 3: flow matching on pose-simulated data (specification 6.1).

    Where ``draws`` say so the second pose becomes the first step of a jump from p0 to p_t*, the pose video is drawn
    and encoded anew; the video stays as it is. So do the pose references, which are of the first frame.
    """

    def __init__(self, stage: Stage, null_text: np.ndarray, encoders: Encoders):
        super().__init__(stage, null_text)
        self.encoders = encoders

    def pose_latent(self, clip: EncodedClip, draws: Draws) -> np.ndarray:
        if draws.t_star is None:
            return clip.pose_latent
        track = simulate_discontinuity(PoseTrack(clip.keypoints, clip.scores), draws.t_star)
        height, width = size = tuple(SPACE * n for n in clip.latent.shape[2:])
        with torch.no_grad():
            return pose_latent(self.encoders, DrawnPoses([track], size, size), size)[0].cpu().numpy()


def passes(stage: Stage) -> int:
    """How often a sample goes through the student."""
    return 2 if stage.objective == "condition_distillation" and stage.distillation == "decoupled" else 1


def squared_error(velocity_BCTHW: Tensor, target_BCTHW: Tensor) -> Tensor:
    """(B,): of every sample the mean squared error, in fp32 whatever the precision of the two."""
    return (velocity_BCTHW.float() - target_BCTHW.float()).square().flatten(1).mean(1)


def build_objective(
    config: Config, number: int, clips: Clips, teacher: Callable[[], Velocity], device: torch.device
) -> ActionSupervision:
    """The objective of a stage; ``teacher`` is called only where one is needed. The codec of stage 3 is on ``device``.

    Raises SteadyDancerError if poses would be encoded by another codec than the dataset's.
    """
    stage, null_text = config.train.stages[number - 1], clips.null_text
    if stage.objective == "condition_distillation":
        return ConditionDistillation(stage, null_text, teacher())
    if stage.objective == "motion_discontinuity":
        only_codec = config.encode.model_copy(update={"image": "embedded", "text": "embedded"})
        encoders = build_encoders(only_codec, config.model, device)
        if encoders.codec.id != clips.codec:
            raise SteadyDancerError(
                f"The dataset was encoded by codec {clips.codec!r}, this one is {encoders.codec.id!r}.",
                "Run `encode` again, into a work folder of its own.",
            )
        return MotionDiscontinuity(stage, null_text, encoders)
    return ActionSupervision(stage, null_text)


def _mean_bell(stage: Stage, points: int = 1000) -> float:
    """The mean of the unnormalised bell over the stage's timesteps, by the midpoint rule over their quantiles."""
    sigmas = (sigma_of((point + 0.5) / points, stage) for point in range(points))
    return math.fsum(math.exp(-2 * (sigma - 0.5) ** 2) for sigma in sigmas) / points
