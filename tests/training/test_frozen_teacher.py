"""The frozen teacher of stage 2: a base of 14B is 66 GB in fp32, on every rank."""

import pytest
import torch
from encoded_noise import tiny_config

from model.checkpoint import build_base
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
