import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from infra import commits, config
from infra.errors import SteadyDancerError, UsageError
from infra.workspace import Workspace, claim, config_for

SMALL = ["resources.memory_gb=0.1", "resources.disk_gb=0.01", "resources.cpus=1"]


def load(work, *overrides):
    return config.load("demo", [f"work={work}", *SMALL, *overrides])


def test_the_folder_belongs_to_the_config_that_made_it(tmp_path):
    with claim(load(tmp_path / "w")) as first:
        chain = first.chain_id
        with commits.write(first.dataset, "dataset"):
            pass
    with claim(load(tmp_path / "w", "train.checkpoint_every=7")) as again:
        assert again.chain_id == chain
    with pytest.raises(UsageError, match=r"train\.stages\.0\.steps: the folder has 60, this run asks for 81"):
        claim(load(tmp_path / "w", "train.stages.0.steps=81")).__enter__()


def test_a_folder_in_which_nothing_was_made_takes_the_corrected_config(tmp_path):
    with claim(load(tmp_path / "w", "sources=tpyo")) as first:
        chain = first.chain_id
    with claim(load(tmp_path / "w", "sources=typo")) as again:
        assert again.chain_id == chain
    assert config_for([f"work={tmp_path / 'w'}"]).sources == ["typo"]


def test_datasets_may_be_published_elsewhere(tmp_path):
    store = f"memory://{uuid.uuid4().hex}/sets"
    with claim(load(tmp_path / "w", f"store={store}")) as workspace:
        assert (workspace.dataset, workspace.encoded) == (f"{store}/dataset", f"{store}/encoded")
        assert workspace.stage(1) == tmp_path / "w/stage1"
        with commits.write(workspace.dataset, "dataset"):
            pass
    with pytest.raises(UsageError, match="belongs to another config"):
        claim(load(tmp_path / "w", f"store={store}", "seed=9")).__enter__()
    assert Workspace(tmp_path, str(tmp_path / "there")).dataset == tmp_path / "there/dataset"


def test_operational_keys_come_back_with_the_folder(tmp_path):
    with claim(load(tmp_path / "w", "train.checkpoint_every=7")):
        pass
    assert config_for([f"work={tmp_path / 'w'}"]).train.checkpoint_every == 7


def test_its_config_is_taken_when_no_other_is_named(tmp_path):
    with claim(load(tmp_path / "w", "seed=5")):
        pass
    assert config_for([f"work={tmp_path / 'w'}"]).seed == 5
    assert config_for([f"work={tmp_path / 'new'}"]).seed == 0


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "holiday.jpg").write_text("x")
    with pytest.raises(UsageError, match=r"not a work folder: it holds 'holiday\.jpg'"):
        claim(load(tmp_path)).__enter__()
    assert [p.name for p in tmp_path.iterdir() if not p.name.startswith(".")] == ["holiday.jpg"]


def test_one_process_at_a_time(tmp_path):
    overrides = [f"work={tmp_path / 'w'}", *SMALL]
    script = (
        "from infra import config\nfrom infra.workspace import claim\n"
        f"with claim(config.load('demo', {overrides!r})): pass"
    )
    with claim(load(tmp_path / "w")):
        other = subprocess.run(
            [sys.executable, "-c", script], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False
        )
    assert other.returncode == 1
    assert "is in use by another steadydancer" in other.stderr


@pytest.mark.parametrize(
    ("override", "lack"),
    [
        ("resources.memory_gb=100000.0", "GiB are free"),
        ("resources.disk_gb=10000000.0", "GiB are free"),
        ("resources.cpus=9999", "this machine has"),
    ],
)
def test_a_machine_too_small_is_refused_before_work_starts(tmp_path, override, lack):
    with pytest.raises(SteadyDancerError, match=lack) as caught:
        claim(load(tmp_path / "w", override)).__enter__()
    assert override.partition("=")[0] in str(caught.value)
    assert not (tmp_path / "w").exists()


def test_an_unwritable_folder_is_told(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(SteadyDancerError, match="cannot be used as a work folder"):
        claim(load(tmp_path / "file" / "w")).__enter__()


def test_a_damaged_owner_file_is_told(tmp_path):
    with claim(load(tmp_path / "w")):
        pass
    (tmp_path / "w/config.yaml").write_text("chain: [")
    with pytest.raises(SteadyDancerError, match=r"config\.yaml is damaged"):
        claim(load(tmp_path / "w")).__enter__()


def test_what_only_curation_reads_may_change_in_a_folder_that_holds_commits(tmp_path):
    with claim(load(tmp_path / "w", "sources=videos")) as workspace:
        chain = workspace.chain_id
        with commits.write(workspace.dataset, "dataset"):
            pass
    changes = ("sources=[videos,more]", "curate.gates=humanvid", "rights.required=[licence]", "caption.max_words=40")
    with claim(load(tmp_path / "w", *changes)) as workspace:
        assert workspace.chain_id == chain
    assert config_for([f"work={tmp_path / 'w'}"]).curate.gates == "humanvid"
    for change in (("seed=1", *changes), changes[1:]):  # another seed; the rendered corpus in place of the videos
        with pytest.raises(UsageError, match="belongs to another config"), claim(load(tmp_path / "w", *change)):
            pass


def test_how_it_is_evaluated_may_change_in_a_folder_that_holds_commits(tmp_path):
    with claim(load(tmp_path / "w")) as workspace, commits.write(workspace.stage(1), "checkpoint"):
        pass
    asked = ("evaluate.metrics=[ssim]", "evaluate.videos.theirs=somewhere", "animate.steps=3")
    with claim(load(tmp_path / "w", *asked)):
        pass
    found = config_for([f"work={tmp_path / 'w'}"])
    assert (found.evaluate.metrics, found.animate.steps) == (["ssim"], 3)
    with pytest.raises(UsageError, match="model.size"), claim(load(tmp_path / "w", *asked, "model.size=small")):
        pass
