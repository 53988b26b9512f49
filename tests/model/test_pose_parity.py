"""`python -m model.pose.parity`: what it finds, in a folder of our own making and in the official release's."""

import json
import random
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from model.pose.alignment import align_official
from model.pose.drawing import draw_openpose
from model.pose.parity import CONVERSIONS, PICTURES, main
from model.pose.perturbation import rescale
from model.pose.wholebody import FEET, OfficialPose, from_official, select_person, to_official, to_openpose

RELEASE = (Path(__file__).parents[2] / "../shared/parity").resolve()
VIDEO, REFERENCE, SEED = (96, 128), (128, 112), 7


def people(rng, *shape):
    keypoints = rng.uniform(0.1, 0.9, (*shape, 133, 2)).astype(np.float32)
    scores = rng.uniform(0.4, 1, (*shape, 133)).astype(np.float32)
    scores[..., [7, 20, 40, 100, 120]] = 0.2
    return keypoints, scores


def store(path, tensors, meta):
    save_file({name: np.ascontiguousarray(array) for name, array in tensors.items()}, path, {"meta": json.dumps(meta)})


def picture(path, rgb):
    cv2.imwrite(str(path), rgb[..., ::-1])


def make_conversions(folder, rng):
    tensors = {}
    for case, count in (("one", 1), ("three", 3)):
        keypoints, scores = people(rng, count)
        keypoints = keypoints * np.float32(704)
        pose = to_openpose(keypoints, scores)
        both = pose.hands[:, 0], pose.hands[:, 1]
        sure = pose.hands_scores[:, 0], pose.hands_scores[:, 1]
        official = to_official(pose.in_units_of(512, 704))  # 360 x 500, its short side brought to 512
        shown = to_openpose(*select_person(keypoints, scores, compat=True)).in_units_of(512, 704)
        tensors |= {f"{case}.{name}": array for name, array in official._asdict().items()}
        tensors |= {
            f"{case}.kps133": keypoints,
            f"{case}.scores133": scores,
            f"{case}.kps134": np.concatenate([pose.body, keypoints[:, FEET], pose.face, *both], 1).astype(np.float32),
            f"{case}.scores134": np.concatenate([pose.body_scores, scores[:, FEET], pose.face_scores, *sure], 1).astype(
                np.float32
            ),
            f"{case}.map_128": cv2.resize(draw_openpose(shown, (704, 512))[..., ::-1], (128, 192)),
        }
    meta = {"image": "360x500", "detect_resolution": 512, "image_resolution": 128}
    store(folder / CONVERSIONS, tensors, meta)


def make_drawing(folder, rng):
    official = to_official(to_openpose(*people(rng, 1)))
    store(folder / "draw_inputs.safetensors", official._asdict(), {})
    pose = from_official(official)[0]
    for name, size, face in (("64x48", (64, 48), False), ("96x80", (96, 80), False), ("64x48_face", (64, 48), True)):
        picture(folder / f"draw_{name}_canvas_as_rgb.png", draw_openpose(pose, size, face=face)[..., ::-1])


def make_alignment(folder, rng):
    tensors, meta = {}, {"video_wh": VIDEO}
    for case in ("normal", "degenerate"):
        video, reference = people(rng, 3), people(rng)
        if case == "degenerate":
            video[0][0, 7] = video[0][0, 5]
        pose, ratios = aligned(video, reference)
        subset = to_official(pose[:, None]).subset
        values = {"candidate": pose.body, "subset": subset, "hands": pose.hands, "faces": pose.face[:, None]}
        values |= {"video.kps": video[0], "video.scores": video[1], "ref.kps": reference[0], "ref.scores": reference[1]}
        tensors |= {f"{case}.{name}": array for name, array in values.items()}
        ours = {"scale_neck": "neck", "scale_face_left": "face_right", "scale_face_right": "face_left"}
        ours |= {"scale_shoulder": "shoulders", "scale_body_len": "torso"}
        ours |= {f"scale_{part}": part for part in ("arm_upper", "arm_lower", "hand", "leg_upper", "leg_lower")}
        scales = {name: ratios[part].value for name, part in ours.items()}
        meta[case] = {"scales": scales, "ref_size_hwc_given_to_detector": [*REFERENCE[::-1], 3]}
        if case == "normal":
            for frame in (0, 2):
                picture(folder / f"align_frame{frame}_rgb.png", draw_openpose(pose[frame], (256, 224)))
    assert np.isinf(meta["degenerate"]["scales"]["scale_arm_upper"])
    store(folder / "align.safetensors", tensors, meta)


def aligned(video, reference):
    one, other = (width / height for width, height in (VIDEO, REFERENCE))
    driving = to_openpose(video[0].astype(np.float64) * (one, 1), video[1])
    pose, ratios = align_official(
        driving, to_openpose(reference[0].astype(np.float64) * (other, 1), reference[1])[None]
    )
    return pose.in_units_of(other, 1), ratios


def make_augmentation(folder, rng):
    video, reference = people(rng, 3), people(rng)
    pose, _ = aligned(video, reference)
    random.seed(SEED)
    ranges = ((-0.2, 0.2), (-0.2, 0.2), (0.7, 1.3), (0.6, 1.4))
    draws = np.array([(*each, random.uniform(*each)) for _ in range(3) for each in ranges])
    scale, aspect = draws[2::4, 2], draws[3::4, 2]
    candidate = rescale(pose.body, pose.body[:, 1], scale, aspect)
    hands = rescale(pose.hands.reshape(3, 42, 2), pose.body[:, 1], scale, aspect).reshape(3, 2, 21, 2)
    subset = to_official(pose[:, None]).subset
    tensors = {"in.video.kps": video[0], "in.video.scores": video[1], "in.ref.kps": reference[0]}
    tensors |= {"in.ref.scores": reference[1], "random_draws_lo_hi_value": draws, "neg.subset": subset}
    tensors |= {"pos.candidate": pose.body, "pos.hands": pose.hands, "neg.candidate": candidate, "neg.hands": hands}
    store(folder / "aug.safetensors", tensors, {"seed": SEED, "written": {"single.mp4": {"hw": [224, 256]}}})
    shown = from_official(OfficialPose(candidate, subset, hands, np.full((3, 1, 68, 2), -1.0)))[:, 0]
    picture(folder / "aug_frame1_rgb.png", draw_openpose(shown[1], (224, 256)))


@pytest.fixture
def ours(tmp_path):
    rng = np.random.default_rng(3)
    for make in (make_conversions, make_drawing, make_alignment, make_augmentation):
        make(tmp_path, rng)
    return tmp_path


def judged(folder, capsys):
    """Exit status, the files named as off, the number of files."""
    status = main([str(folder)])
    last = capsys.readouterr().out.splitlines()[-1]
    found = re.fullmatch(r"(\d+) files, (\d+) off(?:: (.*)|\.)", last)
    return status, set(found[3].split(", ")) if found[3] else set(), int(found[1])


def change(path, tensor, by):
    """One number of a file, and nothing else."""
    if path.suffix == ".png":
        image = cv2.imread(str(path))
        image[3, 2, 1] ^= 8
        cv2.imwrite(str(path), image)
        return
    with safe_open(path, framework="numpy") as file:
        meta = file.metadata()
    tensors = load_file(path)
    tensors[tensor].reshape(-1)[0] += np.asarray(by, tensors[tensor].dtype)
    save_file(tensors, path, meta)


CASES = "normal", "degenerate"
CHANGES = [(CONVERSIONS, f"one.{n}", 1) for n in ("kps133", "scores133", "kps134", "scores134", "candidate", "subset")]
CHANGES += [(CONVERSIONS, f"three.{n}", 1) for n in ("hands", "faces", "map_128", "kps133")]
CHANGES += [("draw_inputs.safetensors", name, 0.25) for name in ("candidate", "hands")]
ALIGNED = "candidate", "subset", "hands", "faces", "video.kps", "ref.kps"
CHANGES += [("align.safetensors", f"{case}.{name}", 0.25) for case in CASES for name in ALIGNED]
CHANGES += [("align.safetensors", "normal.video.scores", -0.5)]
CHANGES += [("aug.safetensors", name, 1e-9) for name in ("neg.candidate", "neg.hands", "random_draws_lo_hi_value")]
CHANGES += [("aug.safetensors", name, 0.25) for name in ("pos.candidate", "pos.hands", "in.video.kps", "neg.subset")]
CHANGES += [(f"{name}.png", "", 1) for name in ("draw_96x80_canvas_as_rgb", "align_frame2_rgb", "aug_frame1_rgb")]


def test_one_number_changed_makes_that_file_fail_and_no_other(ours, capsys, tmp_path_factory):
    assert judged(ours, capsys) == (0, set(), 10)
    for file, tensor, by in CHANGES:
        kept = (ours / file).read_bytes()
        change(ours / file, tensor, by)
        assert judged(ours, capsys)[:2] == (1, {file}), (file, tensor)
        (ours / file).write_bytes(kept)


@pytest.mark.parametrize(
    "entry, value, file",
    [
        (("normal", "scales", "scale_neck"), 1.0, "align.safetensors"),
        (("degenerate", "scales", "scale_hand"), 2.0, "align.safetensors"),
        (("seed",), SEED + 1, "aug.safetensors"),
        (("detect_resolution",), 1024, CONVERSIONS),
    ],
)
def test_a_changed_entry_of_the_metadata_is_found(ours, capsys, entry, value, file):
    path = ours / file
    with safe_open(path, framework="numpy") as opened:
        meta = json.loads(opened.metadata()["meta"])
    place = meta[entry[0]][entry[1]] if len(entry) > 1 else meta
    place[entry[-1]] = value
    store(path, load_file(path), meta)
    assert file in judged(ours, capsys)[1]


DAMAGES = ["truncated", "absent", "without a tensor", "other shape", "without meta"]
DAMAGED = [(file, damage) for file in (CONVERSIONS, *PICTURES) for damage in DAMAGES]
DAMAGED.remove(("draw_inputs.safetensors", "without meta"))  # it needs none


@pytest.mark.parametrize("file, damage", DAMAGED)
def test_what_is_broken_is_named_and_the_rest_is_still_compared(ours, capsys, file, damage):
    (ours / "MANIFEST.json").write_text(json.dumps({"files": {file: {}}}))
    path, tensors = ours / file, load_file(ours / file)
    with safe_open(path, framework="numpy") as opened:
        meta = opened.metadata()
    name = next(n for n in tensors if n.endswith(("hands", "neg.hands")))
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "absent":
        path.unlink()
    elif damage == "without a tensor":
        save_file({n: tensor for n, tensor in tensors.items() if n != name}, path, meta)
    elif damage == "other shape":
        save_file(tensors | {name: tensors[name][..., :1].copy()}, path, meta)
    elif damage == "without meta":
        save_file(tensors, path)
    expected = {file}
    if file == "align.safetensors" and damage in ("truncated", "absent", "without meta"):
        expected.add("aug.safetensors")  # whose video size stands in that file
    assert judged(ours, capsys) == (1, expected, 10)


def test_the_error_says_what_is_missing(ours, capsys):
    (ours / "MANIFEST.json").write_text(json.dumps({"files": {"align_frame1_rgb.png": {}}}))
    (ours / "aug_frame1_rgb.png").write_bytes(b"no picture")
    tensors = load_file(ours / CONVERSIONS)
    del tensors["three.scores133"]
    store(ours / CONVERSIONS, tensors, {"image": "360x500", "detect_resolution": 512, "image_resolution": 128})
    assert main([str(ours)]) == 1
    out = capsys.readouterr().out
    assert "align_frame1_rgb.png: pixels: is missing" in out and "aug_frame1_rgb.png: pixels: cannot be read" in out
    assert "three.scores133 is missing" in out


def test_without_anything_to_compare_it_was_called_wrongly(tmp_path, capsys):
    (tmp_path / "modules.safetensors").write_bytes(b"")
    for folder, said in ((tmp_path, "nothing to compare"), (tmp_path / "absent", "no such folder")):
        assert main([str(folder)]) == 2 and said in capsys.readouterr().err
    with pytest.raises(SystemExit) as left:
        main([])
    assert left.value.code == 2


@pytest.mark.skipif(not RELEASE.is_dir(), reason="the official release's parity vectors are not here")
def test_one_number_changed_in_the_official_release_is_found(tmp_path, capsys):
    shutil.copytree(RELEASE, tmp_path, dirs_exist_ok=True, copy_function=shutil.copyfile)
    changes = [(CONVERSIONS, "two.kps134", 1e-3), ("align.safetensors", "degenerate.candidate", 1e-5)]
    for file, tensor, by in (*changes, ("aug.safetensors", "neg.hands", 1e-11)):
        kept = (tmp_path / file).read_bytes()
        change(tmp_path / file, tensor, by)
        assert judged(tmp_path, capsys)[:2] == (1, {file}), (file, tensor)
        (tmp_path / file).write_bytes(kept)
