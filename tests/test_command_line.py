"""The roof: every command's config handling and exit codes."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import steadydancer
from infra import config

ROOT = Path(__file__).parents[1]
COMMANDS = [
    "sample",
    "curate",
    "status",
    "gate",
    "forget",
    "encode",
    "train",
    "pose",
    "animate",
    "evaluate",
    "compare",
    "demo",
    "run",
    "lineage",
    "doctor",
]
CHAIN_COMMANDS = ["curate", "status", "encode", "train", "evaluate", "compare", "demo", "run", "doctor"]


def call(*arguments) -> int:
    return steadydancer._main([str(a) for a in arguments])


def test_help_names_every_command_and_imports_nothing_heavy():
    script = (
        "import sys, steadydancer\nassert steadydancer._main(['--help']) == 0\n"
        "heavy = {'torch', 'ray', 'mlflow', 'deepspeed', 'cv2', 'numpy', 'pandas', 'pydantic'}\n"
        "print('HEAVY', sorted(heavy & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "HEAVY []" in done.stdout
    assert all(f" {command} " in done.stdout for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, capsys):
    assert call(command, "--help") == 0
    out = capsys.readouterr().out
    assert "--config" in out and "--print-config" in out and "--debug" in out


@pytest.mark.parametrize("command", CHAIN_COMMANDS)
def test_print_config_shows_what_would_run_and_runs_nothing(command, tmp_path, capsys):
    assert call(command, "--config", "paper", "--print-config", f"work={tmp_path / 'w'}", "train.workers=4") == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["train"]["workers"] == 4
    assert config.validate(shown) == config.load("paper", [f"work={tmp_path / 'w'}", "train.workers=4"])
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize("command", CHAIN_COMMANDS)
def test_an_unknown_key_is_wrong_usage(command, capsys):
    assert call(command, "train.wokers=2") == 2
    assert "Did you mean train.workers?" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["run", "--nonsense"],
        ["train", "--stage", "4"],
        ["train", "--from", "work/demo/stage1"],
        ["plan", "gpu=h10"],
        ["plan", "world=many"],
        ["export", "work/demo/stage1", "--out", "x", "--format", "onnx"],
        ["queue", "add", "demo", "--command", "encode", "--stage", "1"],
        ["sweep", "one", "--stage", "1", "train.stages.0.lr=1e-4"],
        ["queue", "add", "--queue", "nowhere", "none.yaml"],
        ["animate"],
        ["lineage"],
        ["run", "--config", "none.yaml"],
        [],
    ],
)
def test_wrong_usage_exits_2(arguments):
    assert call(*arguments) == 2


def test_a_failure_is_one_message_without_traceback(tmp_path, capsys):
    assert call("lineage", tmp_path) == 1
    err = capsys.readouterr().err
    assert "holds no committed artifact" in err and "Traceback" not in err


def test_debug_gives_the_traceback(tmp_path):
    command = [sys.executable, "steadydancer.py", "lineage", str(tmp_path), "--debug"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" in done.stderr and "NotCommitted" in done.stderr


def test_an_interruption_exits_130(monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("infra.chain.run_chain", interrupted)
    assert call("run") == 130
    assert "continues" in capsys.readouterr().err


def test_what_the_model_logs_is_shown(monkeypatch, capsys):
    monkeypatch.setattr("infra.chain.run_chain", lambda *_: logging.getLogger("model.weights").info("which revision"))
    assert call("run") == call("run") == 0
    assert capsys.readouterr().err == 2 * "which revision\n"


def test_an_unexpected_error_is_told_as_a_bug(monkeypatch, capsys):
    def broken(*_):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("infra.chain.run_chain", broken)
    assert call("run") == 1
    assert "ZeroDivisionError: division by zero" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "names"),
    [
        (["run"], ["sample", "curate", "encode", "stage1", "stage2", "stage3", "evaluate", "compare"]),
        (["run", "sources=videos"], ["curate", "encode", "stage1", "stage2", "stage3", "evaluate", "compare"]),
        (["curate"], ["sample", "curate"]),
        (["encode"], ["encode"]),
        (["train"], ["stage1", "stage2", "stage3"]),
        (["train", "--stage", "2"], ["stage2"]),
        (["evaluate"], ["evaluate"]),
        (["compare", "seed=1"], ["compare"]),
    ],
)
def test_each_command_runs_its_steps(command, names, monkeypatch):
    ran = []
    monkeypatch.setattr("infra.chain.run_chain", lambda _config, steps: ran.extend(step.name for step in steps))
    assert call(*command) == 0
    assert ran == names


def test_doctor_finds_this_machine_good_and_a_missing_part_bad(capsys):
    assert call("doctor", "resources.memory_gb=0.1", "resources.disk_gb=0.01", "resources.cpus=1") == 0
    assert call("doctor", "resources.memory_gb=0.1", "resources.cpus=1", "pose.estimator=dwpose") == 1
    assert "pose.weights=" in capsys.readouterr().out


def test_sources_without_videos_are_told_and_leave_nothing(tmp_path):
    (tmp_path / "videos").mkdir()
    small = ("resources.memory_gb=2", "resources.disk_gb=0.2", f"sources={tmp_path / 'videos'}")
    script = "import sys, steadydancer; sys.exit(steadydancer._main(sys.argv[1:]))"
    command = [sys.executable, "-c", script, "curate", "--config", "demo", f"work={tmp_path / 'w'}", *small]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1
    assert str(tmp_path / "videos") in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "w/dataset").exists()


def test_a_plan_that_cannot_fit_exits_1_and_says_what_would(capsys):
    asked = ["plan", "--config", "paper", "--stage", "2", "world=8"]
    assert call(*asked, "gpu=a100-40") == 1
    assert "does not fit" in (out := capsys.readouterr().out) and "any of these fits" in out
    assert call(*asked, "gpu=h200-141") == 0
    assert "does not fit" not in capsys.readouterr().out


def test_every_stage_is_planned_before_the_first_step(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("infra.chain.run_chain", lambda *_: pytest.fail("began"))
    asked = [f"work={tmp_path / 'w'}", "train.micro_batch=1000000"]
    assert call("train", *asked) == call("train", "--stage", "2", *asked) == call("run", *asked) == 1
    assert "Stage 2 needs" in capsys.readouterr().err


def test_runs_are_queued_listed_and_taken_out(tmp_path, capsys):
    place = ["--queue", tmp_path / "q"]
    assert call("queue", "add", "demo", f"work={tmp_path / 'w'}", *place, "--name", "first", "--stage", "1") == 0
    assert "first: train --stage 1 in" in capsys.readouterr().out
    assert call("queue", "cancel", "first", *place) == 0
    assert capsys.readouterr().out == "first: cancelled\n"
    assert call("queue", "list", *place) == 0
    assert "cancelled" in capsys.readouterr().out
    assert call("queue", "log", "first", *place) == 2
    assert call("queue", "retry", "first", *place) == 0
    assert "first: waiting" in capsys.readouterr().out
