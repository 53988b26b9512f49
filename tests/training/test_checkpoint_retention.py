import pytest

from infra import commits
from infra.errors import SteadyDancerError
from training.checkpoint import KIND, Checkpoints


def put(folder, step, config):
    with commits.write(folder / f"step-{step:06d}", KIND, config=config, meta={"step": step}) as draft:
        (draft / "state").write_text(str(step))


def test_the_newest_are_kept_and_what_is_damaged_goes(tmp_path):
    said = []
    mine = Checkpoints(tmp_path, {"lr": 1}, [], keep=2, say=said.append)
    put(tmp_path, 900, {"lr": 1})
    (tmp_path / "step-000900" / "state").write_text("901")
    (tmp_path / "step-by-step").mkdir()
    assert mine.newest() is None and "step-000900 is passed over" in said[0]
    for step in (10, 20, 1000000):
        put(tmp_path, step, {"lr": 1})
        mine._retire(step)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-000020", "step-1000000", "step-by-step"]
    assert mine.newest().meta["step"] == 1000000 and mine.newest(up_to=999).meta["step"] == 20


def test_checkpoints_of_another_run_are_not_pushed_out(tmp_path):
    put(tmp_path, 900, {"lr": 2})
    with pytest.raises(SteadyDancerError, match="step-000900 is a checkpoint of another run"):
        Checkpoints(tmp_path, {"lr": 1}, [], keep=2).newest()


def test_what_killed_writers_left_is_swept(tmp_path):
    put(tmp_path, 10, {"lr": 1})
    (tmp_path / ".step-000733.draft~another-host~7~x").mkdir()
    Checkpoints(tmp_path, {"lr": 1}, [], keep=2).sweep()
    assert [p.name for p in tmp_path.iterdir()] == ["step-000010"]
