"""The step evaluate on a folder's benchmark: videos made elsewhere, videos made here, what they cost."""

import numpy as np
import pytest
from benchmark_files import FPS, clip, small
from evaluated_here import config, in_this_process, rows, run  # noqa: F401 - a fixture

from infra.errors import SteadyDancerError, UsageError
from model import video


def test_videos_made_elsewhere_are_scored_without_checkpoint_or_dataset(tmp_path):
    small(tmp_path / "b")
    theirs = tmp_path / "theirs"
    clip(theirs / "d0_r0.mp4", frames=5)
    clip(theirs / "d0_r1-2.mp4", frames=4, fps=30.0, size=(96, 80))
    clip(theirs / "d1_r0.mp4", frames=1)
    clip(theirs / "itself.mp4", frames=5)
    content = (theirs / "d0_r0.mp4").read_bytes()
    (theirs / "itself.mp4").write_bytes(content[: len(content) // 2])
    evaluation = run(tmp_path, config(tmp_path, f"evaluate.videos={{theirs: {theirs}}}"))
    found = {(row["pair"], row["metric"]): row for row in rows(evaluation)}
    assert len(found) == 5 * 2 and {row["model"] for row in found.values()} == {"theirs"}
    status = {pair: found[pair, "temporal_flickering"]["status"] for pair, _ in found}
    assert status == {"d0_r0": "ok", "d0_r1": "ok", "d1_r0": "not_computable", "d1_r1": "error", "itself": "error"}
    assert "has no d1_r1.mp4" in found["d1_r1", "psnr"]["reason"]
    assert "UnreadableVideo" in found["itself", "psnr"]["reason"]
    assert not evaluation.parents and rows(evaluation, "costs.parquet") == []
    assert evaluation.meta["benchmark"]["name"] == "small" and evaluation.meta["models"] == ["theirs"]
    assert {"videos/theirs/d0_r1.mp4", "references/d0_r0.png", "drivings/itself.mp4"} <= evaluation.files.keys()
    assert [row["pair"] for row in rows(evaluation, "pairs.parquet")][-1] == "itself"


def test_a_driver_that_is_shorter_than_our_videos_is_drawn_as_far_as_it_goes(tmp_path, capsys):
    small(tmp_path / "b")
    clip(tmp_path / "theirs/itself.mp4", frames=4)
    asked = config(tmp_path, f"evaluate.videos={{theirs: {tmp_path / 'theirs'}}}", "clip.frames=9")
    evaluation = run(tmp_path, asked)
    for pair in ("itself", "d0_r1"):
        assert video.probe(evaluation.path / f"poses/{pair}.mp4").declared_frames == 6  # 12 at 24 fps, at 12 fps
    assert "failed" not in capsys.readouterr().out


def test_the_time_map_of_a_method_says_what_its_frames_are_held_against(tmp_path):
    small(tmp_path / "b")
    driver = np.stack([image for _, image in video.frames(tmp_path / "b/drivings/0.mp4")])
    (tmp_path / "theirs").mkdir()
    video.write(tmp_path / "theirs/itself.mp4", driver[:5], FPS / 2)
    asked = ", ".join(f"{rule}: {{folder: {tmp_path / 'theirs'}, time_map: {rule}}}" for rule in ("time", "index"))
    evaluation = run(tmp_path, config(tmp_path, f"evaluate.videos={{{asked}}}"))
    psnr = {
        row["model"]: row["value"] for row in rows(evaluation) if (row["pair"], row["metric"]) == ("itself", "psnr")
    }
    assert psnr["index"] > psnr["time"] + 30
    # kept scores of one rule are not taken for those of the other
    asked = f"evaluate.videos={{index: {{folder: {tmp_path / 'theirs'}, time_map: time}}}}"
    again = run(tmp_path, config(tmp_path, asked))
    assert [row["value"] for row in rows(again) if row["metric"] == "psnr" and row["value"]] == [psnr["time"]]


def test_what_is_not_there_is_named_before_anything_is_made(tmp_path):
    with pytest.raises(UsageError, match="evaluate.benchmark: .* is no folder"):
        run(tmp_path, config(tmp_path, f"evaluate.videos={{theirs: {tmp_path}}}"))
    small(tmp_path / "b")
    with pytest.raises(SteadyDancerError, match="stage2 holds no committed artifact"):
        run(tmp_path, config(tmp_path, "evaluate.models=[stage2]"))
    with pytest.raises(SteadyDancerError, match="dataset holds no committed artifact"):
        run(tmp_path, config(tmp_path, "evaluate.models=[untrained]", "evaluate.benchmark=dataset"))
    with pytest.raises(SteadyDancerError, match="not one of 5 pairs"):
        run(tmp_path, config(tmp_path, f"evaluate.videos={{theirs: {tmp_path}}}"))


def test_videos_made_here_have_their_cost_and_only_changed_pairs_are_made_again(tmp_path):
    small(tmp_path / "b")
    made = []

    def generator(config, model, inputs, seed):
        made.append(inputs.driven(config.clip.frames, config.clip.fps))
        return np.full((config.clip.frames, 32, 32, 3), 10 * len(made), np.uint8)

    asked = config(tmp_path, "evaluate.models=[untrained]")
    first = run(tmp_path, asked, generator=generator)
    assert len(made) == 5 and all(len(track) == 5 for track in made)
    costs = rows(first, "costs.parquet")
    assert sorted(row["pair"] for row in costs) == sorted(row["pair"] for row in rows(first, "pairs.parquet"))
    assert all(row["seconds"] >= 0 and row["peak_mib"] > 1 and row["frames"] == 5 for row in costs)
    assert all(row["nfe"] is None for row in costs) and "costs.parquet" in first.about
    clip(tmp_path / "b/drivings/1.mp4", frames=11)
    run(tmp_path, asked, generator=generator)
    assert len(made) == 5 + 2


def test_passes_of_the_network_are_counted(tmp_path):
    from model.guidance import forwards

    small(tmp_path / "b")
    overrides = ["evaluate.models=[untrained]", "animate.steps=3", "animate.area=1024"]
    asked = config(tmp_path, *overrides, "evaluate.metrics=[temporal_flickering]")
    costs = rows(run(tmp_path, asked), "costs.parquet")
    assert [row["nfe"] for row in costs] == [forwards(3, asked.animate.pose_interval)] * 5
