import json

import pytest
from rich.console import Console

from infra import commits
from infra.errors import SteadyDancerError
from pipelines.dataset import write_manifest
from pipelines.sample.check import check_labels

LABELS = {
    "good.mp4": {"reason": None},
    "pair.mp4": {"reason": "person_count"},
    "dark.mp4": {"reason": "too_dark"},
}
RIGHT = {"good.mp4": [None], "pair.mp4": ["person_count"], "dark.mp4": ["too_dark"]}


def check(folder, became):
    with commits.write(folder / "sample", "sample") as draft:
        (draft / "labels.json").write_text(json.dumps(LABELS))
    with commits.write(folder / "dataset", "dataset") as draft:
        rows = [{"source": name, "reason": reason} for name, reasons in became.items() for reason in reasons]
        write_manifest(draft / "manifest.parquet", rows)
    check_labels(commits.read(folder / "sample"), commits.read(folder / "dataset"), Console(quiet=True))


def test_a_dataset_judged_as_labelled_passes(tmp_path):
    check(tmp_path, RIGHT)


@pytest.mark.parametrize(
    ("name", "reasons"),
    [
        ("good.mp4", ["motion"]),
        ("good.mp4", [None, "motion"]),
        ("good.mp4", []),
        ("pair.mp4", [None]),
        ("pair.mp4", ["visibility"]),
        ("dark.mp4", [None]),
    ],
)
def test_any_other_judgement_is_named(tmp_path, name, reasons):
    with pytest.raises(SteadyDancerError, match=name):
        check(tmp_path, {**RIGHT, name: reasons})
