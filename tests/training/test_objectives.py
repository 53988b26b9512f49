"""What the stages minimise, against formulas on students of three numbers: v = a x + b pose + c text."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from encoded_noise import FRAMES, HEIGHT, WIDTH, tiny_config
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.errors import SteadyDancerError
from infra.schema import Stage
from model.checkpoint import build_base, build_model
from model.codec import BlockDCT
from model.encoders import build_encoders
from model.initialise import base_forward
from model.inputs import encode_pose
from model.pose.tracks import PoseTrack
from training.clips.data import EncodedClip
from training.clips.randomness import Randomness, sigma_of
from training.objectives import (
    ActionSupervision,
    ConditionDistillation,
    MotionDiscontinuity,
    build_objective,
    collate,
)

NULL_TEXT = np.full((1, 32), 0.5, np.float32)
SAMPLING = st.builds(
    lambda sampling, shift: stage(timestep_sampling=sampling, timestep_shift=shift, loss_weighting="bell"),
    st.sampled_from(["uniform", "logit_normal"]),
    st.floats(0.3, 12),
)


def stage(**given) -> Stage:
    return Stage(**{"objective": "condition_distillation", "steps": 1, "lr": 1e-4, "trainable": "full"} | given)


def clip(number: int = 0, width: int = WIDTH) -> EncodedClip:
    random = np.random.default_rng(number)
    t, h, w = (FRAMES - 1) // 4 + 1, HEIGHT // 8, width // 8
    shapes = {"latent": (16, t, h, w), "pose_latent": (16, t, h, w), "image_latent": (16, t, h, w)}
    shapes |= {"clip_image": (257, 48), "clip_pose": (257, 48), "text": (5, 32)}
    tensors = {name: random.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}
    body = random.uniform([0, 0], [width, HEIGHT], (1, 133, 2)) + random.normal(0, 3, (FRAMES, 1, 2)).cumsum(0)
    return EncodedClip(
        f"clip{number}", **tensors, keypoints=body.astype(np.float32), scores=np.ones((FRAMES, 133), "f")
    )


def draws(index: int = 0, **changed):
    return replace(Randomness(0, 2).draws(index, 4), **changed)


class Linear:
    """A velocity of three numbers, which remembers the conditions that it was called with."""

    def __init__(self, a: float, b: float, c: float):
        self.weights = torch.tensor([a, b, c], dtype=torch.float32, requires_grad=True)
        self.seen = []

    def __call__(self, noisy, timestep, conditions):
        self.seen.append(conditions)
        a, b, c = self.weights
        text = conditions.text_BLD.mean(2).sum(1).view(-1, 1, 1, 1, 1)
        return a * noisy + b * conditions.condition_BCTHW + c * text

    def inputs(self, noisy, conditions):
        """What the three numbers are factors of: (3, B, 16, T, H, W)."""
        text = conditions.text_BLD.mean(2).sum(1).view(-1, 1, 1, 1, 1)
        return torch.stack([noisy, conditions.condition_BCTHW, text.expand_as(noisy)])


def gradient(objective, student, example) -> torch.Tensor:
    (found,) = torch.autograd.grad(objective.loss(student, example)["total"].mean(), student.weights)
    return found


def of_squares(student, noisy, conditions, target) -> torch.Tensor:
    """d/dw mean (w . inputs - target)^2, written out."""
    inputs = student.inputs(noisy, conditions)
    residual = torch.einsum("k,k...->...", student.weights.detach(), inputs) - target
    return torch.stack([2 * (residual * each).mean() for each in inputs])


def unposed(conditions, null_text: bool):
    without = conditions._replace(condition_BCTHW=torch.zeros_like(conditions.condition_BCTHW))
    if null_text:
        padded = torch.zeros_like(conditions.text_BLD)
        padded[:, 0] = 0.5
        without = without._replace(text_BLD=padded)
    return without


@pytest.mark.parametrize("unconditional", ["pose", "pose_and_text"])
@pytest.mark.parametrize("distillation", ["decoupled", "normal"])
def test_the_gradient_is_the_formula_s_and_no_term_can_be_left_out(distillation, unconditional):
    weight = 0.7
    chosen = stage(distillation=distillation, unconditional=unconditional, distill_weight=weight)
    student, teacher = Linear(0.4, -0.3, 0.9), Linear(-1.1, 0.0, 0.6)
    objective = ConditionDistillation(chosen, NULL_TEXT, teacher)
    example = collate([objective.example(clip(i), draws(i)) for i in range(3)])
    noisy, target, _, conditions = example
    held = unposed(conditions, unconditional == "pose_and_text") if distillation == "decoupled" else conditions
    anchor = torch.einsum("k,k...->...", teacher.weights.detach(), teacher.inputs(noisy, held))
    fidelity = of_squares(student, noisy, conditions, target)
    distill = weight * of_squares(student, noisy, held, anchor)
    found = gradient(objective, student, example)
    torch.testing.assert_close(found, fidelity + distill)
    for term in (fidelity, distill):
        assert (found - term).norm() > 0.05 * found.norm()
    # The pose is answered for by the fidelity alone, unless the conditional velocity is held to the teacher's.
    assert bool(distill[1] == 0) == (distillation == "decoupled")


@pytest.mark.parametrize(
    ("given", "calls", "pose", "text"),
    [
        ({"distillation": "decoupled"}, 2, False, True),
        ({"distillation": "decoupled", "unconditional": "pose_and_text"}, 2, False, False),
        ({"distillation": "normal"}, 1, True, True),
    ],
)
def test_who_is_asked_under_which_conditions(given, calls, pose, text):
    student, teacher = Linear(1, 1, 1), Linear(1, 1, 1)
    objective = ConditionDistillation(stage(**given), NULL_TEXT, teacher)
    example = collate([objective.example(clip(i), draws(i)) for i in range(2)])
    losses = objective.loss(student, example)
    assert len(student.seen) == calls and len(teacher.seen) == 1
    for name, tensor in example.conditions._asdict().items():
        assert torch.equal(getattr(student.seen[0], name), tensor)
    for held in (student.seen[-1], teacher.seen[0]):
        assert all(bool(held.clip_c_used_B[i]) == pose for i in range(2))
        assert all(bool(part.any()) == pose for part in (held.condition_BCTHW, held.ref_c_BCTHW))
        expected = example.conditions.text_BLD if text else unposed(example.conditions, True).text_BLD
        assert torch.equal(held.text_BLD, expected)
        assert torch.equal(held.y_BCTHW, example.conditions.y_BCTHW)  # the picture always stays
        assert torch.equal(held.clip_x_BND, example.conditions.clip_x_BND)
    losses["total"].sum().backward()
    assert teacher.weights.grad is None and student.weights.grad is not None


@pytest.fixture(scope="module")
def networks():
    model = tiny_config().model
    base = build_base(model, 0)
    return build_model(model, 0), lambda *inputs: base_forward(base, *inputs)


@torch.no_grad()
@pytest.mark.parametrize("distillation", ["decoupled", "normal"])
def test_the_losses_of_a_batch_are_those_of_its_samples(networks, distillation):
    student, teacher = networks
    chosen = stage(distillation=distillation, loss_weighting="bell", distill_weight=0.5)
    objective = ConditionDistillation(chosen, NULL_TEXT, teacher)
    drawn = [draws(0), draws(1, drop_text=True), draws(2, drop_pose=True)]
    examples = [objective.example(clip(i), each) for i, each in enumerate(drawn)]
    batch = objective.loss(student, collate(examples))
    assert set(batch) == {"total", *objective.parts} and all(v.shape == (3,) for v in batch.values())
    for i, example in enumerate(examples):
        for name, value in objective.loss(student, example).items():
            torch.testing.assert_close(batch[name][i : i + 1], value, rtol=1e-5, atol=1e-6)
    weight = objective.weight(collate(examples).timestep_B)
    torch.testing.assert_close(batch["total"], weight * (batch["fidelity"] + 0.5 * batch["distill"]))


@torch.no_grad()
def test_losses_are_fp32_whatever_the_student_s_precision(networks):
    objective = ActionSupervision(stage(), NULL_TEXT)
    example = objective.example(clip(), draws())
    exact = objective.loss(lambda x, t, c: example.target_BCTHW + 1e-3, example)["total"]
    assert exact.dtype == torch.float32 and exact.item() == pytest.approx(1e-6, rel=1e-3)
    halved = objective.loss(lambda x, t, c: example.target_BCTHW.bfloat16(), example)["total"]
    rounding = example.target_BCTHW.bfloat16().float() - example.target_BCTHW
    assert halved.dtype == torch.float32 and halved.item() == pytest.approx(rounding.square().mean().item(), rel=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.floats(0, 1, exclude_max=True), SAMPLING, st.booleans(), st.booleans())
def test_an_example_is_the_clip_on_its_way_to_the_noise(quantile, chosen, drop_text, drop_pose):
    objective, source = ActionSupervision(chosen, NULL_TEXT), clip()
    drawn = draws(quantile=quantile, drop_text=drop_text, drop_pose=drop_pose)
    noisy, target, timestep, conditions = example = objective.example(source, drawn)
    sigma = sigma_of(quantile, chosen)
    assert timestep.dtype == torch.float32 and timestep.item() == pytest.approx(1000 * sigma, rel=1e-6)
    noise = torch.from_numpy(drawn.noise(source.latent.shape))[None]
    torch.testing.assert_close(noisy - sigma * target, torch.from_numpy(source.latent)[None], atol=1e-5, rtol=0)
    torch.testing.assert_close(noisy + (1 - sigma) * target, noise, atol=1e-5, rtol=0)
    text = NULL_TEXT if drop_text else source.text
    assert np.array_equal(conditions.text_BLD[0, : len(text)], text) and not conditions.text_BLD[0, len(text) :].any()
    assert np.array_equal(conditions.condition_BCTHW[0], source.pose_latent * (not drop_pose))
    assert bool(conditions.clip_c_used_B) == (not drop_pose)
    moved = example.to("meta")
    assert all(tensor.is_meta for tensor in (*moved[:3], *moved.conditions)) and moved.noisy_BCTHW.shape == noisy.shape


@settings(max_examples=30, deadline=None)
@given(SAMPLING)
def test_the_bell_counts_one_on_average_over_the_stage_s_timesteps(chosen):
    objective = ActionSupervision(chosen, NULL_TEXT)
    timesteps = torch.tensor([1000 * sigma_of((i + 0.5) / 1777, chosen) for i in range(1777)])
    weights = objective.weight(timesteps)
    assert weights.mean().item() == pytest.approx(1, abs=1e-4)
    middle, end = objective.weight(torch.tensor([500.0, 1000.0])).tolist()
    assert end / middle == pytest.approx(math.exp(-0.5))  # exp(-2 * 0.5^2)
    assert torch.equal(ActionSupervision(stage(), NULL_TEXT).weight(timesteps), torch.ones_like(timesteps))


def test_the_bell_s_mean_over_uniform_timesteps_is_known():
    """Integral of exp(-2 (x - 1/2)^2) over 0..1: sqrt(pi / 2) erf(1 / sqrt 2)."""
    objective = ActionSupervision(stage(timestep_shift=1.0, loss_weighting="bell"), NULL_TEXT)
    mean = math.sqrt(math.pi / 2) * math.erf(math.sqrt(0.5))
    assert objective.weight(torch.tensor([500.0])).item() == pytest.approx(1 / mean, rel=1e-5)


@pytest.mark.parametrize("t_star", [2, 3, 4])
def test_pose_simulation_moves_the_second_pose_and_nothing_else(t_star):
    encoders = build_encoders(tiny_config().encode, tiny_config().model)
    objective, source = MotionDiscontinuity(stage(), NULL_TEXT, encoders), clip()
    untouched = objective.example(source, draws())
    assert np.array_equal(untouched.conditions.condition_BCTHW[0], source.pose_latent)
    simulated = objective.example(source, draws(t_star=t_star))
    moved = source.keypoints.copy()
    moved[1] = moved[0] + (moved[t_star] - moved[0]) / t_star
    of = {
        name: encode_pose(encoders, PoseTrack(points, source.scores), (HEIGHT, WIDTH), (HEIGHT, WIDTH)).latent_BCTHW
        for name, points in (("before", source.keypoints), ("after", moved))
    }
    found = simulated.conditions.condition_BCTHW
    assert torch.equal(found, of["after"])
    changed = [bool((found - of["before"])[:, :, t].any()) for t in range(found.shape[2])]
    assert changed == [False, True, False]  # frame 1 lies in the second latent frame
    assert torch.equal(simulated.noisy_BCTHW, untouched.noisy_BCTHW)
    assert torch.equal(simulated.target_BCTHW, untouched.target_BCTHW)
    assert torch.equal(simulated.conditions.clip_c_BND, untouched.conditions.clip_c_BND)


def test_a_batch_is_of_one_shape():
    objective = ActionSupervision(stage(), NULL_TEXT)
    with pytest.raises(SteadyDancerError, match="clips of one shape"):
        collate([objective.example(clip(0), draws()), objective.example(clip(1, WIDTH + 16), draws())])
    with pytest.raises(SteadyDancerError, match="these 0 are of none"):
        collate([])


class Clips:
    null_text, codec = NULL_TEXT, BlockDCT().id


def test_each_stage_has_its_objective_and_only_the_second_a_teacher():
    config, device, asked = tiny_config(), torch.device("cpu"), []

    def teacher():
        asked.append(True)
        return Linear(0, 0, 0)

    kinds = [type(build_objective(config, number, Clips, teacher, device)) for number in (1, 2, 3)]
    assert kinds == [ActionSupervision, ConditionDistillation, MotionDiscontinuity] and asked == [True]


def test_poses_are_not_encoded_by_another_codec_than_the_dataset_s(monkeypatch):
    monkeypatch.setattr(Clips, "codec", "wan-vae-1")
    with pytest.raises(SteadyDancerError, match="encoded by codec 'wan-vae-1', this one is 'block-dct"):
        build_objective(tiny_config(), 3, Clips, None, torch.device("cpu"))
