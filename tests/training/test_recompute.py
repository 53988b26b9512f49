"""What the backward pass computes anew changes memory and time, and no gradient."""

import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from encoded_noise import tiny_config
from torch.utils._python_dispatch import TorchDispatchMode

from model.conditions import Conditions
from model.transformer import SteadyDancerTransformer, model_config
from training import recompute
from training.adapters import make_trainable

sys.path.insert(0, str(Path(__file__).parents[1] / "model"))
from live_memory import LiveMemory

LATENT = (1, 16, 3, 8, 6)
TOKENS = (3 + 2) * 4 * 3
HOWS = ("none", "attention", "full")


class Counted(TorchDispatchMode):
    """Self-attention and all other operations that attention ends in."""

    def __init__(self):
        super().__init__()
        self.calls = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.name() in recompute.ATTENTION:
            self.calls["self" if recompute.is_self_attention(function, *args) else "cross"] += 1
        return function(*args, **(kwargs or {}))


@pytest.fixture(scope="module")
def forward():
    """(how, trainable) -> model and a function of it that gives a loss; the same numbers each time."""
    random = torch.Generator().manual_seed(0)
    shapes = ((1, 20, *LATENT[2:]), LATENT, (1, 36, 1, 8, 6), (1, 16, 1, 8, 6), (1, 257, 48), (1, 257, 48))
    given = [torch.randn(shape, generator=random) for shape in shapes]
    conditions = Conditions(*given, torch.ones(1), torch.randn(1, 512, 32, generator=random))
    latent = torch.randn(LATENT, generator=random)
    stages = {stage.trainable: stage for stage in tiny_config().train.stages}

    def build(how: str, trainable: str):
        torch.manual_seed(1)
        model = SteadyDancerTransformer(**model_config("tiny")).train()
        make_trainable(model, stages[trainable], seed=1)
        recompute.apply(model, how)

        def loss() -> torch.Tensor:
            torch.manual_seed(2)  # of the dropout in FAAU
            return model(latent, torch.tensor([500.0]), conditions).square().mean()

        return model, loss

    return build


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("trainable", ["lora", "full"])
def test_gradients_are_the_same_and_attention_is_computed_once_where_it_is_kept(forward, trainable):
    found, calls = {}, {}
    for how in HOWS:
        model, loss = forward(how, trainable)
        with Counted() as counted:
            loss().backward()
        found[how], calls[how] = gradients(model), counted.calls
    assert len(found["none"]) > 42 and any(g.abs().max() > 0 for g in found["none"].values())
    for how in HOWS[1:]:
        assert found[how].keys() == found["none"].keys()
        assert all(torch.equal(found[how][name], found["none"][name]) for name in found["none"])
    layers = model_config("tiny")["num_layers"]
    assert {how: calls[how]["self"] for how in HOWS} == {"none": layers, "attention": layers, "full": 2 * layers}
    assert calls["full"]["cross"] == 2 * calls["none"]["cross"] > 0


def test_the_comparison_is_of_a_forward_with_dropout(forward):
    model, loss = forward("full", "full")
    dropped = loss()
    model.eval()
    assert not torch.equal(dropped, loss())


def test_the_memory_kept_falls_in_this_order(forward):
    kept = {}
    for how in HOWS:
        _, loss = forward(how, "full")
        with LiveMemory() as live:
            alive = loss()
        kept[how] = live.now
        del alive
    layers, width = model_config("tiny")["num_layers"], 96
    stream = TOKENS * width * 4
    assert kept["none"] > 1.5 * kept["attention"] > 1.5 * kept["full"]
    assert kept["attention"] - kept["full"] == pytest.approx(layers * stream, rel=0.1)


def test_it_can_be_changed_back(forward):
    model, loss = forward("full", "full")
    recompute.apply(model, "none")
    with Counted() as counted:
        loss().backward()
    assert counted.calls["self"] == model_config("tiny")["num_layers"]
