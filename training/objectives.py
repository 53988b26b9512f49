"""What the three stages minimise (paper section 3; specification 6.1, 6.2).

Shapes: B batch (one sample), C channels, T latent frames, H W latent height and width.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from infra.errors import SteadyDancerError
from infra.schema import Config, Stage
from model.conditions import Conditions, assemble
from model.encoders import Encoders, build_encoders
from model.inputs import encode_pose
from model.pose.perturbation import simulate_discontinuity
from model.pose.tracks import PoseTrack
from model.resolution import SPACE
from training.data import EncodedClip, EncodedDataset
from training.randomness import Draws, shifted_sigma

Velocity = Callable[[Tensor, Tensor, Conditions], Tensor]
"""(noisy latent (B,16,T,H,W), timestep (B,) fp32, conditions) -> velocity (B,16,T,H,W)."""


class Example(NamedTuple):
    """One noised sample."""

    noisy_BCTHW: Tensor
    target_BCTHW: Tensor
    """v* = noise - x0."""
    timestep_B: Tensor
    """1000 sigma in fp32: bf16 has 294 values between 0 and 1000."""
    conditions: Conditions


class ActionSupervision:
    """Stage 1: flow matching. x_t = (1 - sigma) x0 + sigma noise; loss = MSE(v, noise - x0) in fp32."""

    parts: tuple[str, ...] = ("fidelity",)

    def __init__(self, stage: Stage, null_text: np.ndarray):
        self.stage, self.null_text = stage, torch.from_numpy(null_text)

    def example(self, clip: EncodedClip, draws: Draws, device: torch.device) -> Example:
        """The clip with the noise, timestep and dropped conditions that ``draws`` decided."""
        sigma = shifted_sigma(draws.quantile, self.stage.timestep_shift)
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
        example = Example((1 - sigma) * latent + sigma * noise, noise - latent, timestep, conditions)
        return Example(*(part.to(device) for part in example))

    def pose_latent(self, clip: EncodedClip, draws: Draws) -> np.ndarray:
        """(16, T, H, W) latent of the pose video."""
        return clip.pose_latent

    def loss(self, student: Velocity, example: Example) -> dict[str, Tensor]:
        """``total``, which is minimised, and the parts it is made of."""
        velocity = student(example.noisy_BCTHW, example.timestep_B, example.conditions)
        fidelity = F.mse_loss(velocity.float(), example.target_BCTHW.float())
        return {"total": fidelity, "fidelity": fidelity}


class ConditionDistillation(ActionSupervision):
    """Stage 2: L_fidelity + w L_distill (paper, section 3.3).

    L_fidelity is the flow matching loss of the conditional velocity; L_distill holds the student's unconditional
    velocity to that of the frozen base Wan I2V: || v_student^u(x_t, t) - v_teacher^u(x_t, t) ||^2. Unconditional means
    without pose: image and text stay (specification 6.2, choice a).
    """

    parts = ("fidelity", "distill")

    def __init__(self, stage: Stage, null_text: np.ndarray, teacher: Velocity):
        super().__init__(stage, null_text)
        self.teacher = teacher

    def loss(self, student: Velocity, example: Example) -> dict[str, Tensor]:
        noisy, timestep = example.noisy_BCTHW, example.timestep_B
        unposed = example.conditions.without_pose()
        with torch.no_grad():
            anchor = self.teacher(noisy, timestep, unposed)
        fidelity = super().loss(student, example)["fidelity"]
        distill = F.mse_loss(student(noisy, timestep, unposed).float(), anchor.float())
        return {"total": fidelity + self.stage.distill_weight * distill, "fidelity": fidelity, "distill": distill}


class MotionDiscontinuity(ActionSupervision):
    """Stage 3: flow matching on pose-simulated data (specification 6.1).

    Where ``draws`` say so the second pose becomes the first step of a jump from p0 to p_t*, the pose video is drawn
    and encoded anew; the video stays as it is.
    """

    def __init__(self, stage: Stage, null_text: np.ndarray, encoders: Encoders):
        super().__init__(stage, null_text)
        self.encoders = encoders

    def pose_latent(self, clip: EncodedClip, draws: Draws) -> np.ndarray:
        if draws.t_star is None:
            return clip.pose_latent
        track = simulate_discontinuity(PoseTrack(clip.keypoints, clip.scores), draws.t_star)
        height, width = (SPACE * n for n in clip.latent.shape[2:])
        with torch.no_grad():
            return encode_pose(self.encoders, track, (height, width), (height, width)).latent_BCTHW[0].cpu().numpy()


def build_objective(
    config: Config, number: int, encoded: EncodedDataset, teacher: Callable[[], Velocity], device: torch.device
) -> ActionSupervision:
    """The objective of a stage; ``teacher`` is called only where one is needed.

    Raises SteadyDancerError if poses would be encoded by another codec than the dataset's.
    """
    stage, null_text = config.train.stages[number - 1], encoded.null_text
    if stage.objective == "condition_distillation":
        return ConditionDistillation(stage, null_text, teacher())
    if stage.objective == "motion_discontinuity":
        only_codec = config.encode.model_copy(update={"image": "embedded", "text": "embedded"})
        encoders = build_encoders(only_codec, config.model, device)
        if encoders.codec.id != encoded.codec:
            raise SteadyDancerError(
                f"The dataset was encoded by codec {encoded.codec!r}, this one is {encoders.codec.id!r}.",
                "Run `encode` again, into a work folder of its own.",
            )
        return MotionDiscontinuity(stage, null_text, encoders)
    return ActionSupervision(stage, null_text)
