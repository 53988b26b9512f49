import io
import re

import pytest
from rich.console import Console

from infra import commits
from infra.commits import NotCommitted
from infra.lineage import lineage


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
