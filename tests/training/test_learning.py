"""Stage 1 learns what poses are for, and from nothing but poses that belong to their clips.

Of a toy world without pictures: a video's latent is that of its poses, and image and text are the same for all, so that
only the pose can say which video is meant. (tests/campaigns/learning.py asks the same of rendered dancers.)
"""

from dataclasses import replace

import numpy as np
import torch

from infra import config
from infra.schema import Config
from model.checkpoint import build_model
from training.adapters import make_trainable, parameter_groups
from training.clips.data import EncodedClip
from training.clips.randomness import Randomness
from training.objectives import ActionSupervision, collate

STEPS, BATCH, SHAPE = 25, 8, (16, 2, 4, 4)


def clips(number: int, seed: int) -> list[EncodedClip]:
    rng = np.random.default_rng(seed)
    shared = {
        "image_latent": np.zeros(SHAPE, np.float32),
        "clip_image": np.zeros((257, 48), np.float32),
        "clip_pose": np.zeros((257, 48), np.float32),
        "text": np.zeros((1, 32), np.float32),
        "keypoints": np.zeros((5, 133, 2), np.float32),
        "scores": np.zeros((5, 133), np.float32),
    }
    poses = rng.standard_normal((number, *SHAPE), dtype=np.float32)
    return [EncodedClip(f"clip{n}", latent=pose, pose_latent=pose, **shared) for n, pose in enumerate(poses)]


def held_out_loss(settings: Config, shown: list[EncodedClip], held_out: list[EncodedClip]) -> float:
    """Fidelity at noise levels around 0.9 after STEPS steps of plain PyTorch on ``shown``."""
    stage, draws = settings.train.stages[0], Randomness(0, 1).draws
    objective = ActionSupervision(stage, np.zeros((1, 32), np.float32))
    model = build_model(settings.model, settings.seed).train()
    make_trainable(model, stage, 0)
    optimizer = torch.optim.AdamW(parameter_groups(model, stage))
    for step in range(STEPS):
        indices = range(step * BATCH, (step + 1) * BATCH)
        examples = [objective.example(shown[i % len(shown)], draws(i, BATCH)) for i in indices]
        objective.loss(model, collate(examples))["total"].mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    examples = [objective.example(clip, replace(draws(n, 1), quantile=0.6)) for n, clip in enumerate(held_out)]
    with torch.no_grad():
        return objective.loss(model.eval(), collate(examples))["fidelity"].mean().item()


def test_poses_lower_the_held_out_loss_where_they_belong_to_their_clips():
    settings = config.load("demo", ["train.stages.0.lr=0.01"])
    shown, held_out = clips(64, 1), clips(16, 2)
    anothers = [replace(clip, pose_latent=shown[n - 1].pose_latent) for n, clip in enumerate(shown)]
    assert held_out_loss(settings, shown, held_out) < 0.7 * held_out_loss(settings, anothers, held_out)
