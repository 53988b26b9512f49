import io
import re
import uuid

import pytest
from rich.console import Console

from infra import commits
from infra.commits import NotCommitted
from infra.lineage import descendants, lineage, orphans


def put(uri, text, *parents):
    with commits.write(uri, uri.name, parents=parents) as folder:
        (folder / "data").write_text(text)
    return commits.read(uri)


@pytest.fixture
def chain(tmp_path):
    dataset = put(tmp_path / "dataset", "d")
    encoded = put(tmp_path / "encoded", "e", dataset)
    put(tmp_path / "stage1", "s", encoded, dataset)
    return tmp_path


def shown(uri):
    tree, faults = lineage(str(uri))
    console = Console(width=400, record=True, file=io.StringIO())
    console.print(tree)
    return console.export_text(), faults


def test_the_tree_reaches_every_parent(chain):
    text, faults = shown(chain / "stage1")
    assert faults == 0
    assert [re.findall(r"[a-z]+\d?", line)[0] for line in text.splitlines()] == [
        "stage1",
        "encoded",
        "dataset",
        "dataset",
    ]


def test_a_changed_ancestor_is_told_with_its_hashes(chain):
    (chain / "dataset/data").write_text("x")
    text, faults = shown(chain / "encoded")
    assert faults == 1
    assert "data was changed after it was committed" in text
    assert "expected sha256" in text


def test_a_lost_and_an_exchanged_parent_are_told(chain):
    (chain / "encoded").rename(chain / "away")
    text, faults = shown(chain / "stage1")
    assert faults == 1 and "holds no committed artifact" in text
    put(chain / "encoded", "another")
    text, faults = shown(chain / "stage1")
    assert faults == 1 and "another artifact lies there now" in text


def test_no_artifact_is_an_error(tmp_path):
    with pytest.raises(NotCommitted):
        lineage(str(tmp_path))


def test_descendants_are_found_over_any_number_of_steps_also_damaged_ones(chain):
    dataset = commits.read(chain / "dataset")
    stage2 = put(chain / "checkpoints/stage2", "s2", commits.read(chain / "stage1"))
    put(chain / "evaluation", "e", stage2)
    put(chain / "units/x", "unit", dataset)
    put(chain / "other", "o")
    (chain / "encoded/data").unlink()
    below, damaged = descendants(dataset.id, chain)
    assert [commit.uri.removeprefix(f"{chain}/") for commit in below] == [
        "checkpoints/stage2", "encoded", "evaluation", "stage1",
    ]  # fmt: skip
    assert damaged == []
    (chain / "stage1/COMMIT.json").write_text("{half")
    below, damaged = descendants(dataset.id, chain)
    assert [commit.kind for commit in below] == ["encoded"] and damaged == [f"{chain}/stage1"]


def test_what_was_made_from_something_that_is_no_longer_there(chain, tmp_path_factory):
    away = put(tmp_path_factory.mktemp("away") / "sample", "p")
    put(chain / "other", "o", away)
    assert orphans(chain) == []
    (chain / "dataset").rename(chain / "moved")
    assert orphans(chain) == []  # it is known by its id
    (chain / "moved").rename(away.path.parent / "moved")
    put(chain / "dataset", "another")
    put(chain / "evaluation", "e", commits.read(chain / "stage1"))
    assert [commit.kind for commit in orphans(chain)] == ["encoded", "evaluation", "stage1"]
    (away.path / "COMMIT.json").unlink()
    assert [commit.kind for commit in orphans(chain)] == ["encoded", "evaluation", "other", "stage1"]
    assert len(orphans(chain, but=("sample",))) == 3


def test_descendants_on_an_object_store(chain):
    dataset, store = commits.read(chain / "dataset"), f"memory://{uuid.uuid4().hex}"
    with commits.write(f"{store}/encoded", "encoded", parents=[dataset]):
        pass
    below, _ = descendants(dataset.id, chain, store)
    assert [commit.uri for commit in below][-1] == f"{store}/encoded" and len(below) == 3
    assert descendants(dataset.id, f"{store}/nothing") == ([], [])
