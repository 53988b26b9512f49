from infra import commits
from training.checkpoint import KIND, Checkpoints


def put(folder, step, config):
    with commits.write(folder / f"step-{step:06d}", KIND, config=config, meta={"step": step}) as draft:
        (draft / "state").write_text(str(step))


def test_what_another_run_left_ahead_does_not_push_out_this_runs_checkpoints(tmp_path):
    said = []
    mine = Checkpoints(tmp_path, {"lr": 1}, [], keep=2, say=said.append)
    put(tmp_path, 900, {"lr": 2})
    assert mine.newest() is None and "another config" in said[0]
    for step in (10, 20, 30):
        put(tmp_path, step, {"lr": 1})
        mine._retire(step)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-000020", "step-000030"]
    assert mine.newest().meta["step"] == 30
