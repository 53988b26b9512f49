"""What our code makes of the inputs in the official release's files, name by name as the files have the results.

The files are safetensors with a JSON text ``meta`` in their metadata; :mod:`model.pose.parity` compares.
"""

import cv2
import numpy as np

from model.pose.alignment import align_official
from model.pose.comparison import EXACT, Numbers, Ours
from model.pose.drawing import draw_openpose
from model.pose.perturbation import ASPECT, OFFSET, SCALE, official_uniforms, rescale
from model.pose.wholebody import (
    FEET,
    NECK,
    OfficialPose,
    OpenPose,
    from_official,
    select_person,
    to_official,
    to_openpose,
)

ALIGNMENT, AUGMENTATION = 1e-6, 1e-12

# Our names of the ratios; the release's left and right of the face are the picture's.
SCALES = {"neck": "neck", "face_left": "face_right", "face_right": "face_left", "shoulder": "shoulders"}
SCALES |= {"arm_upper": "arm_upper", "arm_lower": "arm_lower", "hand": "hand", "body_len": "torso"}
SCALES |= {"leg_upper": "leg_upper", "leg_lower": "leg_lower"}


def conversions(numbers: Numbers, case: str) -> Ours:
    """(n, 133) joints of n persons to all that the release makes of them (specification section 4.2)."""
    keypoints, scores = (np.asarray(numbers[f"{case}.{what}"], np.float64) for what in ("kps133", "scores133"))
    pose = to_openpose(keypoints, scores)
    parts = pose.body, keypoints[:, FEET], pose.face, pose.hands[:, 0], pose.hands[:, 1]
    yield f"{case}.kps134", np.concatenate(parts, axis=1), EXACT
    parts = pose.body_scores, scores[:, FEET], pose.face_scores, pose.hands_scores[:, 0], pose.hands_scores[:, 1]
    yield f"{case}.scores134", np.concatenate(parts, axis=1), EXACT

    picture = f"{case}.map_{numbers['image_resolution']}"
    height, width = detected_size(numbers, picture)
    for name, ours in to_official(pose.in_units_of(width, height))._asdict().items():
        yield f"{case}.{name}", ours, EXACT
    first = to_openpose(*select_person(keypoints, scores, compat=True)).in_units_of(width, height)
    canvas = draw_openpose(first, (height, width))[..., ::-1]
    yield picture, cv2.resize(canvas, numbers[picture].shape[1::-1]), EXACT


def detected_size(numbers: Numbers, picture: str) -> tuple[int, int]:
    """(height, width) in which the detector saw the image: short side ``detect_resolution``, multiples of 64."""
    one, other = (int(side) for side in numbers["image"].split("x"))
    if one != other and (one < other) != (numbers[picture].shape[0] < numbers[picture].shape[1]):
        one, other = other, one
    factor = numbers["detect_resolution"] / min(one, other)
    return tuple(int(round(side * factor / 64)) * 64 for side in (one, other))


def released(numbers: Numbers, prefix: str) -> OpenPose:
    """(T,) poses of the first person as the file has them."""
    candidate, subset, hands = (numbers[f"{prefix}.{name}"] for name in ("candidate", "subset", "hands"))
    no_face = np.full((len(candidate), subset.shape[1], 68, 2), -1.0)
    return from_official(OfficialPose(candidate, subset, hands, no_face))[:, 0]


def aligned(
    numbers: Numbers, prefix: str, video_wh: list[int], reference_hw: list[int]
) -> tuple[OpenPose, dict[str, float]]:
    """(T,) poses of a file's driver on its reference, in fractions of the reference's width and height; the ratios."""

    def pose(who: str, aspect: float) -> OpenPose:
        keypoints, scores = numbers[f"{prefix}{who}.kps"], numbers[f"{prefix}{who}.scores"]
        return to_openpose(keypoints.astype(np.float64) * (aspect, 1), scores)

    aspect = reference_hw[1] / reference_hw[0]
    moved, ratios = align_official(pose("video", video_wh[0] / video_wh[1]), pose("ref", aspect)[None])
    return moved.in_units_of(aspect, 1), {part: ratio for part, (ratio, _) in ratios.items()}


def alignment(numbers: Numbers, case: str, poses: list[OpenPose]) -> Ours:
    """Specification section 4.4. What the pictures may show is put into ``poses``."""
    reference_hw = numbers[f"{case}.ref_size_hwc_given_to_detector"][:2]
    pose, ratios = aligned(numbers, f"{case}.", numbers["video_wh"], reference_hw)
    poses.append(pose)
    yield f"{case}.candidate", pose.body, ALIGNMENT
    yield f"{case}.subset", to_official(pose[:, None]).subset, EXACT
    yield f"{case}.hands", pose.hands, ALIGNMENT
    yield f"{case}.faces", pose.face[:, None], ALIGNMENT
    for theirs, ours in SCALES.items():
        yield f"{case}.scales.scale_{theirs}", ratios[ours], ALIGNMENT


def augmentation(numbers: Numbers, video_wh: list[int], poses: list[OpenPose]) -> Ours:
    """Specification section 4.5. What the pictures may show is put into ``poses``."""
    height, width = numbers["written"]["single.mp4"]["hw"]
    pose, _ = aligned(numbers, "in.", video_wh, (height, width))
    frames = len(pose.body)
    draws = official_uniforms(numbers["seed"], frames)
    ranges = np.tile([OFFSET, OFFSET, SCALE, ASPECT], (frames, 1))
    yield "random_draws_lo_hi_value", np.column_stack([ranges, draws.reshape(-1, 1)]), AUGMENTATION
    yield "pos.candidate", pose.body, ALIGNMENT
    yield "pos.hands", pose.hands, ALIGNMENT

    body, hands = numbers["pos.candidate"], numbers["pos.hands"]
    scale, aspect = draws[:, 2], draws[:, 3]
    negative = {
        "candidate": rescale(body, body[:, NECK], scale, aspect),
        "hands": rescale(hands.reshape(frames, -1, 2), body[:, NECK], scale, aspect).reshape(hands.shape),
    }
    subset = to_official(pose[:, None]).subset
    poses.append(from_official(OfficialPose(**negative, subset=subset, faces=np.full((frames, 1, 68, 2), -1.0)))[:, 0])
    yield "neg.candidate", negative["candidate"], AUGMENTATION
    yield "neg.hands", negative["hands"], AUGMENTATION
    yield "neg.subset", subset, EXACT
