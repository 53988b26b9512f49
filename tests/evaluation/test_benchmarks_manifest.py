"""What a benchmark.yaml may say, and what is told where it says something else."""

import pytest
from benchmark_files import clip, manifest, picture, small

from evaluation.benchmarks.manifest import InvalidManifest, checked, inside, read_manifest, write_manifest
from infra.errors import SteadyDancerError

GOOD = {"id": "a", "reference": "r.png", "driving": "d.mp4"}


def test_a_manifest_survives_its_file(tmp_path):
    read = read_manifest(small(tmp_path, licence="CC0", time_map="index"))
    assert len(read.pairs) == 5 and read.time_map == "index"
    write_manifest(tmp_path / "again.yaml", read)
    (tmp_path / "again.yaml").replace(tmp_path / "benchmark.yaml")
    assert read_manifest(tmp_path) == read


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({**GOOD, "driving": "../d.mp4"}, r"pair 1 \(a\): driving: '../d.mp4' leads out"),
        ({**GOOD, "driving": "x/../../d.mp4"}, "driving: .* leads out"),
        ({**GOOD, "reference": "/etc/passwd"}, "reference: '/etc/passwd' leads out"),
        ({**GOOD, "reference": "file:///etc/passwd"}, "reference: .* leads out"),
        ({**GOOD, "reference_pose": "..\\r.npz"}, "reference_pose: .* leads out"),
        ({**GOOD, "prompt": 3}, r"pair 1 \(a\): prompt: .*string, not 3"),
        ({**GOOD, "prompts": "x"}, "prompts is no field"),
        ({**GOOD, "id": "a/b"}, "id: "),
        ({**GOOD, "id": 1}, "id: .*string, not 1"),
        ({**GOOD, "fps": 0.0}, "fps: "),
        ({**GOOD, "strata": {"style": ["anime"]}}, "strata.style"),
        ({**GOOD, "same_source": True}, "name no other"),
        ({"id": "a", "driving": "d.mp4"}, "reference must be set"),
        ({"id": "a", "reference": "r.png"}, "driving must be set"),
    ],
)
def test_what_is_wrong_names_the_file_the_pair_and_the_field(tmp_path, entry, told):
    with pytest.raises(InvalidManifest, match=told) as caught:
        read_manifest(manifest(tmp_path, entry))
    assert str(tmp_path / "benchmark.yaml") in str(caught.value)


def test_everything_wrong_is_told_at_once(tmp_path):
    wrong = [{**GOOD, "id": name, "fps": -1.0} for name in ("a", "b", "c")]
    with pytest.raises(InvalidManifest) as caught:
        read_manifest(manifest(tmp_path, *wrong, time_map="backwards"))
    assert all(f"({name}): fps" in str(caught.value) for name in "abc") and "time_map" in str(caught.value)


@pytest.mark.parametrize(("other", "told"), [("a", "twice"), ("A", "twice"), ("a-3", "seed 3 of pair 'a'")])
def test_names_that_collide_are_refused(tmp_path, other, told):
    with pytest.raises(InvalidManifest, match=told):
        read_manifest(manifest(tmp_path, GOOD, {**GOOD, "id": other}))
    assert len(read_manifest(manifest(tmp_path, GOOD, {**GOOD, "id": "b-3"})).pairs) == 2


def test_no_pairs_no_file_and_no_yaml_are_told(tmp_path):
    with pytest.raises(InvalidManifest, match="pairs"):
        read_manifest(manifest(tmp_path))
    (tmp_path / "benchmark.yaml").write_text("pairs: [")
    with pytest.raises(InvalidManifest, match="YAML"):
        read_manifest(tmp_path)
    with pytest.raises(InvalidManifest, match="not valid"):
        checked(["a"], tmp_path)
    (tmp_path / "benchmark.yaml").unlink()
    with pytest.raises(InvalidManifest, match="holds no benchmark.yaml"):
        read_manifest(tmp_path)


def test_a_link_out_of_the_folder_is_refused(tmp_path):
    outside, folder = picture(tmp_path / "outside.png"), tmp_path / "folder"
    clip(folder / "videos/d.mp4")
    (folder / "r.png").symlink_to(outside)
    (folder / "d.mp4").symlink_to(folder / "videos/d.mp4")
    assert inside(folder, "d.mp4").exists()
    with pytest.raises(SteadyDancerError, match="link out of its folder"):
        inside(folder, "r.png")
    with pytest.raises(SteadyDancerError, match="missing"):
        inside(folder, "nothing.png")
