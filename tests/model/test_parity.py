"""`python -m model.parity`: what it finds, in a folder made by plain code and in the official release's."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import toy_release
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from model.parity import CLIP, MODULES, PIPELINE, PIXELS, SCHEDULERS, SIZES, WEIGHTS, Comparison, main

CASES = "dit_case_m.safetensors", "dit_case_n.safetensors"
DIT = WEIGHTS, CLIP, *CASES
FILES = MODULES, *DIT, SCHEDULERS, SIZES, PIXELS, PIPELINE


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return toy_release.make(tmp_path_factory.mktemp("release"))


@pytest.fixture
def copied(release, tmp_path):
    """Puts files of the release into an empty folder; gives the folder."""

    def copy(*files):
        shutil.rmtree(tmp_path)
        tmp_path.mkdir()
        for file in files:
            shutil.copyfile(release / file, tmp_path / file)
        return tmp_path

    return copy


def judged(folder, capsys):
    """Exit status, the files named as off, the number of files."""
    status = main([str(folder)])
    found = re.fullmatch(r"(\d+) files, (\d+) off(?:: (.*)|\.)", capsys.readouterr().out.splitlines()[-1])
    return status, set(found[3].split(", ")) if found[3] else set(), int(found[1])


def change(path, tensor, by):
    """One number of a tensor, or of ``meta`` where no tensor has the name."""
    if path.suffix == ".json":
        entries = json.loads(path.read_text())
        entries[1][tensor][-1] += by
        path.write_text(json.dumps(entries))
        return
    tensors, meta = load_file(path), meta_of(path)
    if tensor in tensors:
        tensors[tensor].reshape(-1)[-1] += np.asarray(by, tensors[tensor].dtype)
    else:
        *place, last = tensor.split(".")
        entry = meta
        for key in place:
            entry = entry[key]
        entry[last] = by
    save_file(tensors, path, {"meta": json.dumps(meta)})


def meta_of(path):
    with safe_open(path, framework="numpy") as file:
        return json.loads(file.metadata()["meta"])


def test_what_plain_code_makes_of_the_specification_is_met(release, capsys):
    assert judged(release, capsys) == (0, set(), len(FILES))


RESULTS = {MODULES: [("ssae.y", 3e-5), ("tmcm.y", 3e-5), ("faau.y", 3e-5), ("faau.influence_of_pose_t0h0w0", 3e-5)]}
RESULTS[SCHEDULERS] = [("unipc.6.5.0.timesteps", 1), ("unipc.6.5.0.sigmas", 1e-5), ("dpm++.5.3.0.x_end", 1e-5)]
RESULTS |= {SIZES: [("out_wh", 16), ("latent_thw", 8)], PIXELS: [("pixel_values_strided9", 1e-5), ("mean_std", 1e-5)]}
ARGUMENTS = [f"pos.{n}" for n in ("y", "condition", "ref_x", "ref_c", "clip_fea_x", "clip_fea_c", "context")]
RESULTS[PIPELINE] = [(f"args.{name}", 1e-5) for name in (*ARGUMENTS, "negtext.context", "negpose.condition")]
RESULTS[PIPELINE] += [("pos0", 1), ("neg0", 1), ("dpm10.noise", 1e-5), ("dpm10.final_latent", 3e-5)]
RESULTS[PIPELINE] += [("runs.unipc9.forward_calls", 4), ("runs.dpm10.steps_with_negative_pose", [1, 3])]
RESULTS[PIPELINE] += [("runs.unipc9.negpose_pass_shares_with_positive", ["context"] * 6)]
PASSING = "cond_temporal", "cond_spatial_bt_chw", "cond_fused", "cond_aligned", "tok_fuse", "tok_ref_x", "tok_ref_c"
PASSING += "time_proj", "grid_sizes", "block0_in", "block0_out", "block1_out", "context_first_last"
RESULTS[CASES[0]] = [("out", 1e-4), ("T", 3), ("text_tokens", 6), ("t", 636), *((f"mid.{name}", 1) for name in PASSING)]


@pytest.mark.parametrize("file", RESULTS)
def test_every_changed_result_is_found(copied, capsys, file):
    folder = copied(*DIT) if file in CASES else copied(file)
    for name, by in RESULTS[file]:
        change(folder / file, name, by)
    assert judged(folder, capsys)[:2] == (1, {file})
    found = {row.what.split(" ")[0] for row in Comparison(folder).rows() if row.off}
    assert found == {name for name, _ in RESULTS[file]}


INPUTS = [(MODULES, "ssae.w.bn2.bias", 0.01), (MODULES, "tmcm.w.4.temporal.bias", 0.01), (MODULES, "faau.ref", 0.01)]
INPUTS += [(SCHEDULERS, "x_start", 1e-3), (SIZES, "src_wh", 90), (PIXELS, "image_u8_chw", 1)]
INPUTS += [(PIPELINE, name, 1) for name in ("image", "base", "toy.proj", "seed")]
INPUTS += [(PIPELINE, "guide_scale", 4), (PIPELINE, "max_area", 4096), (PIPELINE, "interval", [0.1, 0.6])]
INPUTS += [(PIPELINE, f"runs.unipc9.{name}", 2) for name in ("shift", "condition_guide_scale")]
INPUTS += [(CASES[0], name, 1) for name in ("in.condition", "in.t")]


def test_one_number_changed_in_the_inputs_makes_that_file_fail(copied, capsys):
    for file, name, by in INPUTS:
        folder = copied(*DIT) if file in CASES else copied(file)
        change(folder / file, name, by)
        assert judged(folder, capsys)[:2] == (1, {file}), (file, name)


def test_what_all_forwards_read_is_off_with_all_of_them(copied, capsys):
    for file, name in ((CLIP, "clip_fea_c"), (WEIGHTS, "blocks.0.norm3.weight")):
        folder = copied(*DIT)
        change(folder / file, name, 1)
        status, off, _ = judged(folder, capsys)
        assert status == 1 and {file, *CASES} <= off
    folder = copied(WEIGHTS, CLIP, CASES[0])
    change(folder / CASES[0], "out", 1)
    assert judged(folder, capsys) == (1, {CASES[0]}, 3), "what its only reader says is not held against a file"


BROKEN = [(MODULES, "ssae.x"), (CASES[1], "mid.head_out"), (WEIGHTS, "head.head.weight"), (CLIP, "clip_fea_x")]
BROKEN += [(SCHEDULERS, "unipc.6.5.0.sigmas"), (PIXELS, "mean_std"), (PIPELINE, "args.pos.y"), (PIPELINE, "base")]


@pytest.mark.parametrize("damage", ["truncated", "absent", "without a tensor", "other shape"])
def test_what_is_broken_is_named(copied, capsys, damage):
    for file, name in BROKEN:
        if damage == "absent" and file in (PIPELINE, *CASES):
            continue
        folder = copied(WEIGHTS, CLIP, CASES[1], SIZES) if file in DIT else copied(file, SIZES)
        (folder / "MANIFEST.json").write_text(json.dumps({"files": {file: {}}}))
        path, tensors, meta = folder / file, load_file(folder / file), json.dumps(meta_of(folder / file))
        if damage == "truncated":
            path.write_bytes(path.read_bytes()[:-100])
        elif damage == "absent":
            path.unlink()
        elif damage == "without a tensor":
            save_file({n: tensor for n, tensor in tensors.items() if n != name}, path, {"meta": meta})
        else:
            save_file(tensors | {name: tensors[name][..., :1].copy()}, path, {"meta": meta})
        status, off, _ = judged(folder, capsys)
        assert status == 1 and file in off and SIZES not in off, (file, name)


@pytest.mark.parametrize("text", ["{", "[]", "[1]", '[{"area": "1024*576"}]', '[{"area": "9", "src_wh": [1, 1]}]'])
def test_broken_sizes_are_named(copied, capsys, text):
    folder = copied(PIXELS)
    (folder / SIZES).write_text(text)
    assert judged(folder, capsys) == (1, {SIZES}, 2)


def test_without_meta_nothing_is_guessed(copied, capsys):
    for file in (PIPELINE, PIXELS, SCHEDULERS):
        folder = copied(file)
        save_file(load_file(folder / file), folder / file)
        assert judged(folder, capsys) == (1, {file}, 1)
    folder = copied(PIPELINE, SCHEDULERS)
    change(folder / PIPELINE, "runs", {})
    change(folder / SCHEDULERS, "keys", ["unipc.7.5.0"])
    assert judged(folder, capsys) == (1, {PIPELINE, SCHEDULERS}, 2)


def test_a_case_and_the_pipeline_may_be_missing(copied, capsys):
    folder = copied(SIZES)
    listed = dict.fromkeys((SIZES, PIPELINE, "dit_case_z.safetensors"))
    (folder / "MANIFEST.json").write_text(json.dumps({"files": listed}))
    assert main([str(folder)]) == 0
    out = capsys.readouterr().out
    assert out.count("not here") >= 2 and "dit_case_z.safetensors: named in MANIFEST.json" in out
    (folder / "MANIFEST.json").write_text(json.dumps({"files": listed | {"align.safetensors": {}}}))
    assert judged(folder, capsys) == (1, {"align.safetensors"}, 2)


def test_pictures_are_read_as_their_first_frame_says(copied, capsys):
    """The file tells of a flipped picture; it may lie in it flipped already."""
    folder = copied(PIPELINE)
    tensors, meta = load_file(folder / PIPELINE), meta_of(folder / PIPELINE)
    tensors["base"] = tensors["base"][::-1].copy()
    save_file(tensors, folder / PIPELINE, {"meta": json.dumps(meta)})
    assert judged(folder, capsys) == (0, set(), 1)
    change(folder / PIPELINE, "pos0", 1)
    assert main([str(folder)]) == 1
    assert "no reading of base gives it" in " ".join(capsys.readouterr().out.split())


def test_without_anything_to_compare_it_was_called_wrongly(tmp_path, capsys):
    (tmp_path / "MANIFEST.json").write_text(json.dumps({"files": {PIPELINE: {}}}))
    for folder, said in ((tmp_path, "nothing to compare"), (tmp_path / "absent", "no such folder")):
        assert main([str(folder)]) == 2 and said in capsys.readouterr().err


def test_the_official_release_is_met(real_data, capsys):
    status, off, files = judged(real_data / "parity", capsys)
    here = {path.name for path in Path(real_data / "parity").iterdir()} - {"MANIFEST.json"}
    assert (status, off, files) == (0, set(), len(here))
