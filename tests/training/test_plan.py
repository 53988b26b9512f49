import dataclasses
import io
import re
import shutil
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count, sdpa_backward_flop_count, sdpa_flop_count

from infra import commits
from infra import config as configs
from infra.errors import SteadyDancerError, UsageError
from infra.schema import Stage
from model.conditions import assemble
from model.initialise import base_forward, base_model
from model.transformer import SteadyDancerTransformer, model_config
from training import recompute
from training.adapters import make_trainable
from training.planning import flops
from training.planning.check import check, check_all, faults, fits
from training.planning.command import plan_stages, split_overrides
from training.planning.hardware import GIB, GPUS, Gpu, called, named
from training.planning.plan import as_dict, largest_latent, make_plan
from training.planning.table import show

aten = torch.ops.aten
H100 = GPUS["h100-80"]
PAPER = configs.load("paper", [])
ARITHMETIC = {
    # Latent: PFLOP of a forward, share of its attention in %, full 3x and 4x, LoRA's model and executed.
    (21, 60, 104): (1.94, 54, 5.81, 7.75, 4.95, 6.89),
    (21, 80, 80): (2.02, 55, 6.05, 8.06, 5.16, 7.18),
}


def stage(trainable: str, objective: str = "action_supervision", **settings) -> Stage:
    return Stage(objective=objective, steps=1, lr=1e-4, trainable=trainable, **{"lora_rank": 8} | settings)


def counted(work) -> int:
    """As torch counts it, with what it lacks: attention on CPUs, and the groups of a depthwise kernel's gradient."""
    mapping = {
        aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v),
        aten._scaled_dot_product_flash_attention_for_cpu_backward: lambda g, q, k, v, *_, **__: (
            sdpa_backward_flop_count(g, q, k, v)
        ),
        aten.convolution_backward: lambda g, x, w, _b, _s, _p, _d, transposed, _o, _g, needed, **__: (
            conv_flop_count(x, w, g, transposed) * sum(needed[:2])
        ),
    }
    with FlopCounterMode(display=False, custom_mapping=mapping) as counter:
        work()
    return counter.get_total_flops()


def inputs(config: dict, latent_THW: tuple[int, int, int]):
    latent = torch.randn(1, 16, *latent_THW)
    clip = [torch.randn(1, 257, config["image_dim"]) for _ in range(2)]
    return latent, torch.tensor([500.0]), assemble(latent, latent, *clip, [torch.randn(9, config["text_dim"])])


@pytest.mark.parametrize("how", ["none", "attention", "full"])
@pytest.mark.parametrize("trainable", ["full", "lora"])
def test_a_step_is_as_torch_counts_it(trainable, how):
    config, latent_THW = model_config("tiny"), (3, 6, 4)
    model = SteadyDancerTransformer(**config)
    make_trainable(model, stage(trainable), seed=0)
    recompute.apply(model, how)
    model.train()
    found = counted(lambda: model(*inputs(config, latent_THW)).square().mean().backward())
    assert flops.step(config, latent_THW, stage(trainable), how).executed == found


def test_the_trained_patch_embedding_counts():
    config, latent_THW = model_config("tiny"), (3, 6, 4)
    trained = stage("lora", patch_embedding=True)
    model = SteadyDancerTransformer(**config)
    make_trainable(model, trained, seed=0)
    found = counted(lambda: model.train()(*inputs(config, latent_THW)).square().mean().backward())
    assert flops.step(config, latent_THW, trained, "none").executed == found


def test_the_teacher_is_as_torch_counts_it():
    config, latent_THW = model_config("tiny"), (3, 6, 4)
    base = base_model(config).requires_grad_(False)
    found = counted(lambda: base_forward(base, *inputs(config, latent_THW)))
    assert sum(flops.teacher(config, latent_THW).values()) == found


@pytest.mark.parametrize(("latent_THW", "expected"), ARITHMETIC.items())
def test_the_published_arithmetic(latent_THW, expected):
    """Without adapters, and without the scores that flash attention makes once more, neither of which it counts."""
    config = model_config("wan-14b")
    full = flops.step(config, latent_THW, stage("full"), "full")
    lora = flops.step(config, latent_THW, stage("lora"), "full")
    adapters = lora.forward["adapters"] + lora.backward["adapters"]
    forward = sum(full.forward.values())
    found = (
        forward / 1e15,
        100 * full.forward["self-attention scores"] / forward,
        full.model / 1e15,
        (full.executed - full.flash) / 1e15,
        (lora.model - adapters) / 1e15,
        (lora.executed - lora.flash - adapters - lora.recomputed["adapters"]) / 1e15,
    )
    for ours, printed, rounding in zip(found, expected, (0.005, 0.5, 0.006, 0.006, 0.006, 0.006), strict=True):
        assert ours == pytest.approx(printed, abs=rounding)


def test_the_second_stage_goes_twice_through_the_student():
    config, latent_THW = model_config("tiny"), (3, 6, 4)
    one = flops.step(config, latent_THW, stage("full"), "full")
    decoupled = flops.step(config, latent_THW, stage("full", "condition_distillation"), "full")
    normal = flops.step(config, latent_THW, stage("full", "condition_distillation", distillation="normal"), "full")
    assert decoupled.executed == 2 * one.executed + decoupled.teacher
    assert normal.executed == one.executed + decoupled.teacher
    assert decoupled.teacher < sum(one.forward.values())


def test_the_released_model():
    plans = [make_plan(PAPER, number, 8, H100, clips=7338, price=2.0) for number in (1, 2, 3)]
    assert [plan.parameters["base"] > 0 for plan in plans] == [False, True, False]
    assert plans[0].parameters["adapters"] == 128 * 4_792_320
    assert plans[1].parameters["all"] == 16_396_718_736
    assert {plan.tokens for plan in plans} == {36_800}
    assert plans[1].checkpoint_bytes == pytest.approx(197e9, rel=0.01)
    assert plans[1].memory["teacher"] / GIB == pytest.approx(3.8, abs=0.1)
    states = ("weights", "gradients", "fp32 masters", "Adam moments")
    assert sum(plans[1].memory[part] for part in states) / GIB == pytest.approx(31, rel=0.02)
    assert all(map(fits, plans))
    assert plans[0].cost == pytest.approx(plans[0].step_seconds * 12_000 / 3600 * 8 * 2)
    [fault] = faults(make_plan(PAPER, 2, 4, H100))
    assert fault.fatal
    for way in ("train.offload=optimizer", "8 workers", "4 h200-141"):
        assert way in fault.fix


@settings(max_examples=30)
@given(
    number=st.sampled_from((1, 2, 3)),
    zero=st.sampled_from((1, 2, 3)),
    how=st.sampled_from(("none", "attention", "full")),
    micro_batch=st.sampled_from((1, 2)),
    gpu=st.sampled_from(sorted(GPUS)),
    world=st.sampled_from((1, 2, 8, 16)),
)
def test_what_is_said_to_fit_fits(number, zero, how, micro_batch, gpu, world):
    train = {"zero": zero, "recompute": how, "micro_batch": micro_batch}
    config = PAPER.model_copy(update={"train": PAPER.train.model_copy(update=train)})
    room = {"disk": 10**16}
    config = config.model_copy(update={"resources": config.resources.model_copy(update={"memory_gb": 4096.0})})
    plan = make_plan(config, number, world, GPUS[gpu], **room)
    assert fits(plan) == (not any(fault.fatal for fault in faults(plan)))
    for fault in faults(plan):
        for way in fault.fix.removeprefix("By estimate any of these fits: ").rstrip(".").split("; "):
            if match := re.fullmatch(r"(\d+) workers", way):
                assert fits(make_plan(config, number, int(match[1]), GPUS[gpu], **room))
            elif match := re.fullmatch(rf"{world} ([\w-]+)", way):
                assert fits(make_plan(config, number, world, GPUS[match[1]], **room))
            elif match := re.fullmatch(r"No single change fits; by estimate (\d+) ([\w-]+) do", way):
                assert fits(make_plan(config, number, int(match[1]), GPUS[match[2]], **room))
            elif way.startswith("train."):
                changed = configs.override(config.model_dump(mode="json"), way.split(" "))
                assert fits(make_plan(changed, number, world, GPUS[gpu], **room))


def test_more_of_anything_takes_no_less():
    def needs(**train) -> int:
        changed = PAPER.model_copy(update={"train": PAPER.train.model_copy(update=train)})
        return sum(make_plan(changed, 2, 8, H100).memory.values())

    assert needs(recompute="full") < needs(recompute="attention") < needs(recompute="none")
    assert needs(zero=3) < needs(zero=2) <= needs(zero=1)
    assert needs(offload="parameters") < needs(offload="optimizer") < needs(offload="none")
    assert needs(micro_batch=1) < needs(micro_batch=2)


def test_the_demo_fits_this_machine():
    for number in (1, 2, 3):
        plan = check(configs.load("demo", []), number, gpu=named("cpu"))
        assert plan.step_seconds is None and sum(plan.memory.values()) < 2 * GIB


def test_training_is_refused_where_it_cannot_fit():
    with pytest.raises(SteadyDancerError, match=r"Stage 2 needs [\d.]+ GiB on each h100-80.*\n.*offload=optimizer"):
        check(PAPER, 2, world=4, gpu=H100, disk=10**15)
    with pytest.raises(SteadyDancerError, match="of disk"):
        check(PAPER, 1, gpu=H100, disk=10**9)
    little = PAPER.model_copy(update={"resources": PAPER.resources.model_copy(update={"memory_gb": 32.0})})
    with pytest.raises(SteadyDancerError, match=r"host memory(.|\n)*resources.memory_gb=64 "):
        check(little, 1, gpu=H100, disk=10**15)


def changed(plan_config=PAPER, memory_gb: float = 4096.0, **train):
    update = {
        "train": plan_config.train.model_copy(update=train),
        "resources": plan_config.resources.model_copy(update={"memory_gb": memory_gb}),
    }
    return plan_config.model_copy(update=update)


def test_each_shortage_is_cured_by_its_own():
    """Of host memory, by offloading less; neither by what ends one and makes another."""
    offloaded = changed(memory_gb=250.0, offload="optimizer")
    [fault] = faults(make_plan(offloaded, 2, 8, GPUS["h200-141"]))
    assert "train.offload=none" in fault.fix and "resources.memory_gb=" in fault.fix and "workers" not in fault.fix
    [fault] = faults(make_plan(offloaded, 2, 8, H100._replace(memory=60 * GIB)))
    assert "offload" not in fault.fix
    [fault] = faults(make_plan(changed(memory_gb=250.0), 2, 4, H100))
    assert "offload" not in fault.fix and "8 workers" in fault.fix
    [fault] = [one for one in faults(make_plan(PAPER, 2, 3, H100)) if one.fatal]
    assert "8 workers" in fault.fix and "6 workers" not in fault.fix  # which would leave some idle
    for fault in faults(make_plan(PAPER, 2, 1, Gpu("cpu", 20 * GIB, None))):
        assert "resources" not in fault.fix and "No single change fits" in fault.fix


def test_the_disk_that_a_stage_has_already_is_room(tmp_path, monkeypatch):
    needed = sum(make_plan(PAPER, 2, 8, H100).disk.values())
    config = PAPER.model_copy(update={"work": str(tmp_path / "work")})
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=needed // 2))
    for folder, counts in (("sample", False), ("stage1/model", True), ("checkpoints/stage2", True)):
        (tmp_path / "work" / folder).mkdir(parents=True)
        with (tmp_path / "work" / folder / "weights").open("wb") as file:
            file.truncate(needed // 2 + 1)  # sparse
        if counts:
            check(config, 2, gpu=H100)
        else:
            with pytest.raises(SteadyDancerError, match="of disk"):
                check(config, 2, gpu=H100)


def test_what_is_committed_is_not_checked_again(tmp_path):
    config = changed(configs.load("demo", [f"work={tmp_path}", "resources.ray_address=null"]), micro_batch=10**6)
    with pytest.raises(SteadyDancerError, match="Stage 1"):
        check_all(config, [1, 2])
    with commits.write(tmp_path / "stage1", "checkpoint"):
        pass
    with pytest.raises(SteadyDancerError, match="Stage 2"):
        check_all(config, [1, 2])
    check_all(config, [1])
    check_all(changed(config, plan=False), [1, 2])


def test_idle_workers_are_a_warning():
    [fault] = faults(make_plan(PAPER, 1, 5, H100))
    assert not fault.fatal and "2 of 10 places" in fault.what and fault.fix.startswith("Use at most 4 workers.")


def test_numbers_that_cannot_be():
    for wrong in ({"mfu": 0.0}, {"mfu": 1.5}, {"price": -1.0}, {"price": float("nan")}):
        with pytest.raises(UsageError):
            make_plan(PAPER, 1, 8, H100, **wrong)
    for number, world in ((0, 8), (4, 8), (1, 0), (1, 10**6)):
        with pytest.raises(UsageError):
            make_plan(PAPER, number, world, H100)


def test_hardware_by_name():
    assert named("h100-80") == H100
    with pytest.raises(UsageError, match="Did you mean h100-80"):
        named("h100")
    assert named("cpu").is_cpu and named("cpu").memory > 0
    assert called("NVIDIA H100 80GB HBM3", 85 * 10**9).name == "h100-80"
    assert called("NVIDIA A100-SXM4-40GB", 42 * 10**9).name == "a100-40"
    assert called("NVIDIA H200").name == "h200-141"
    assert called("NVIDIA L40S").name == "l40s-48"
    assert called("NVIDIA GeForce RTX 4090").name == "rtx4090-24"
    for other in (
        "Radeon",
        "NVIDIA L40",
        "NVIDIA GH200 480GB",
        "NVIDIA H100 80GB HBM3 MIG 1g.10gb",
        "NVIDIA GeForce RTX 3090 Ti",
    ):
        assert called(other) is None


def test_what_is_asked_beside_the_config():
    assert split_overrides(["world=4", "seed=1", "price=2"]) == ({"world": 4, "price": 2.0}, ["seed=1"])
    for wrong, told in ((["world=abc"], "a whole number expected"), (["mfu=0.2", "mfu=0.3"], "twice")):
        with pytest.raises(UsageError, match=told):
            split_overrides(wrong)
    with pytest.raises(UsageError, match="mfu"):
        plan_stages(configs.load("demo", []), [1], mfu=0.0)


def test_the_clips_that_are_encoded_are_counted(tmp_path, capsys):
    import pyarrow as pa
    import pyarrow.parquet as pq

    config = configs.load("demo", [f"work={tmp_path}"])
    plan_stages(config, [1])
    assert "epochs" not in capsys.readouterr().out
    with commits.write(tmp_path / "encoded", "encoded") as folder:
        pq.write_table(pa.table({"clip_id": [str(n) for n in range(24)]}), folder / "manifest.parquet")
    plan_stages(config, [1])
    out = capsys.readouterr().out
    assert re.search(r"epochs +5\.0", out) and "encoded clips" in out


def test_the_largest_bucket_counts():
    assert largest_latent(PAPER) == (21, 80, 80)
    assert largest_latent(configs.load("demo", [])) == (21, 16, 16)


@pytest.mark.parametrize("width", [80, 100])
def test_the_table(width):
    console = Console(width=width, record=True, file=io.StringIO())
    show([make_plan(PAPER, number, 4, H100, price=2.5, clips=7338) for number in (1, 2, 3)], console)
    text = console.export_text()
    lines = text.splitlines()
    for expected in ("activations kept", "teacher", "headroom", "offload=optimizer", "a checkpoint", "cost", "17.8%"):
        assert expected in text
    assert max(map(len, lines)) <= width
    # Nothing is wrapped: what a line begins with is indented, or a heading.
    rows = lines[lines.index(next(line for line in lines if "Parameters" in line)) : -8]
    assert all(not line.strip() or line.startswith("   ") or line[1].isupper() for line in rows)


def test_a_step_of_no_time_is_not_timed():
    console = Console(width=80, record=True, file=io.StringIO())
    show([make_plan(configs.load("demo", []), 1, 2, H100)], console)
    assert "< 10 ms" in console.export_text()


def test_parameters_for_tracking_are_plain():
    values = as_dict(make_plan(PAPER, 1, 8, Gpu("unknown", 80 * GIB, None)))
    assert all(isinstance(value, int | float | str) for value in values.values())
    assert "plan_step_seconds" not in values and values["plan_gpu"] == "unknown"
    assert dataclasses.is_dataclass(make_plan(PAPER, 1, 8, H100))
