"""The frozen teacher of stage 2: a base of 14B is 66 GB in fp32, on every rank."""

import pytest
import torch
from encoded_noise import tiny_config

from model.checkpoint import build_base
from model.conditions import assemble
from training import engine


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp32", torch.float32)])
def test_it_is_read_in_the_training_precision_onto_its_device(monkeypatch, precision, dtype):
    read = []

    def build(*how):
        base = build_base(*how)
        read.append((base.dtype, base.device.type))
        return base

    monkeypatch.setattr(engine, "build_base", build)
    engine.frozen_teacher(tiny_config("train.zero=2", f"train.precision={precision}"), torch.device("meta"))
    assert read == [(dtype, "meta")]


def test_it_reads_picture_and_text_knows_no_pose_and_learns_nothing():
    teacher = engine.frozen_teacher(tiny_config("train.zero=2"), torch.device("cpu"))
    g = torch.Generator().manual_seed(0)
    latent, image, pose, other = (torch.randn(2, 16, 2, 4, 4, generator=g) for _ in range(4))
    clip, text = torch.randn(2, 257, 48, generator=g), [torch.randn(3, 32, generator=g)] * 2
    given, timestep = assemble(image, pose, clip, clip, text), torch.tensor([300.0, 700.0])
    velocity = teacher(latent.requires_grad_(), timestep, given)
    assert velocity.shape == latent.shape and velocity.dtype == torch.float32 and not velocity.requires_grad
    for same in (given.without_pose(), assemble(image, other, clip, -clip, text)):
        assert torch.equal(teacher(latent, timestep, same), velocity)
    for seen in (
        given.without_text(),
        assemble(other, pose, clip, clip, text),
        assemble(image, pose, -clip, clip, text),
    ):
        assert (teacher(latent, timestep, seen) - velocity).abs().max() > 1e-4
