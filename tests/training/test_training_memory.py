import sys
from pathlib import Path

import pytest

from infra import config as configs
from model.transformer import model_config
from training.planning import memory
from training.planning.activations import Setting

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import training_memory


@pytest.mark.parametrize("case", training_memory.cases(1, short=True), ids=lambda case: case.trainable)
def test_real_steps_take_what_is_planned(one_worker, case):
    """The short form of the benchmark."""
    planned = max(moment.total for moment in training_memory.planned(case, 1))
    assert planned == pytest.approx(training_memory.measured(case, 1), rel=training_memory.TOLERANCE)


def setting(number: int, world: int, cuda: bool = True, **train) -> Setting:
    config = configs.load("paper", [])
    settings = config.train.model_copy(update=train)
    latent = (21, 80, 80)
    stage = settings.stages[number - 1]
    return Setting(model_config("wan-14b"), latent, settings, stage, config.encode, world, cuda)


def parts(*given, **train) -> dict[str, int]:
    return max(memory.moments(setting(*given, **train)), key=lambda moment: moment.total).parts


def test_zero_divides_what_it_says():
    one, eight = (parts(2, world, batch=world) for world in (1, 8))
    for part in ("fp32 masters", "Adam moments"):
        assert eight[part] == one[part] // 8
    # The small tensors and the tables are whole on every worker.
    assert eight["weights"] == pytest.approx(one["weights"] / 8, rel=0.001)
    assert "gathered parameters" in eight and "gathered parameters" not in one
    assert parts(2, 8, zero=2)["weights"] == one["weights"]


def test_offload_moves_to_the_host():
    held, moved = setting(2, 8), setting(2, 8, offload="optimizer")
    before, after = (max(memory.moments(each), key=lambda moment: moment.total).parts for each in (held, moved))
    assert "Adam moments" in before and "Adam moments" not in after
    host = memory.beside_training(moved)["offloaded optimizer"]
    assert host >= before["Adam moments"] + before["fp32 masters"]
    assert "offloaded optimizer" not in memory.beside_training(held)


def test_two_passes_keep_no_more_than_one():
    """Each is backpropagated before the next; only the gradients of the first wait."""
    config = configs.load("paper", [])
    normal = config.train.stages[1].model_copy(update={"distillation": "normal"})
    stages = [config.train.stages[0], normal, config.train.stages[2]]
    assert parts(2, 8)["activations kept"] == parts(2, 8, stages=stages)["activations kept"]
    assert parts(2, 8)["gradients"] >= parts(2, 8, stages=stages)["gradients"]


def test_whole_models_are_there_before_they_are_divided():
    """With all offloaded that is close to the most: 16.4 G weights of two bytes, and then those of the teacher."""
    moments = [m for m in memory.moments(setting(2, 64, offload="parameters")) if m.name == "setting up"]
    assert [max(m.parts, key=m.parts.get) for m in moments] == ["whole student", "whole teacher"]
    assert moments[0].total == pytest.approx(32.8e9, rel=0.01)
    assert moments[1].total == sum(moments[1].parts.values()) > moments[1].parts["whole teacher"]
    small = setting(2, 64, offload="parameters", recompute="full")._replace(latent_THW=(3, 32, 32))
    assert max(memory.moments(small), key=lambda m: m.total).name == "setting up"
    assert all(m.name != "setting up" for m in memory.moments(setting(2, 8, zero=2)))


def test_traffic_of_a_step():
    """86 GB for the student and 29 for the teacher, of one pass each on eight workers."""
    config = configs.load("paper", [])
    normal = config.train.stages[1].model_copy(update={"distillation": "normal"})
    stages = [config.train.stages[0], normal, config.train.stages[2]]
    assert memory.traffic(setting(2, 8, stages=stages)) == pytest.approx(86e9 + 29e9, rel=0.01)
    assert memory.traffic(setting(2, 8)) == pytest.approx(2 * 86e9 + 29e9, rel=0.01)
    assert memory.traffic(setting(2, 8, batch=16)) == 2 * memory.traffic(setting(2, 8))
    # An all-reduce of the gradients, for each pass or once, and the new weights.
    one = 16.4e9 * 2 * 7 / 8
    assert memory.traffic(setting(2, 8, zero=2)) == pytest.approx(5 * one, rel=0.01)
    assert memory.traffic(setting(2, 8, zero=1, batch=16)) == pytest.approx(3 * one, rel=0.01)
    assert memory.traffic(setting(2, 1)) == 0
