"""What is known of a pair before anything is generated: framing, dynamics, and how far its two bodies are apart."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from evaluation.metrics.bones import BODY, SEEN, angle_difference, angle_steps
from evaluation.metrics.evidence import NotComputable
from evaluation.metrics.start_gap import start_gap
from evaluation.pairs import DIFFERENT, Pair
from model.pose import wholebody as joint
from model.pose.tracks import PoseTrack

HIGH_DEG_S = 25.0
"""Mean turn of a bone from which on a driver counts as highly dynamic. Ours: no threshold is published."""
PARTS = ((0, 2), (1, 3), (4, 6), (5, 7), (8,), (9,), (10, 11))
"""Bones whose lengths are averaged: left and right of one part of the body."""
FEWEST_PARTS = 3
TERTILES = ("small", "middle", "large")


def measured(reference: PoseTrack | None, driving: PoseTrack | None, fps: float) -> dict[str, str | float]:
    """A pair's strata by its poses; what cannot be said of them is left out.

    ``framing``, ``driving_framing``: full where an ankle is seen (in half of the frames), else half. ``motion_deg_s``:
    the driver's bones' mean turn, ``dynamics`` high or low by it. ``start_gap_deg``: mean angle between the bones of
    reference and first driving pose. ``proportion_gap``: mean over body parts of |ln(l_R / l_D)|, from the driving pose
    that is the most like the reference's, each ratio by the median one, so that distance from the camera counts for
    nothing. ``visibility_gap``: share of the driver's seen bones that the reference does not show.
    """
    strata: dict[str, str | float | None] = {}
    if reference is not None:
        strata["framing"] = _framing(reference)
    if driving is not None:
        strata["driving_framing"] = _framing(driving)
        if (motion := _motion(driving, fps)) is not None:
            strata |= {"motion_deg_s": motion, "dynamics": "high" if motion >= HIGH_DEG_S else "low"}
    if reference is not None and driving is not None:
        strata |= _gaps(reference, driving)
    return {name: round(v, 4) if isinstance(v, float) else v for name, v in strata.items() if v is not None}


def with_tertiles(pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs with ``start_gap`` small, middle or large: thirds of ``start_gap_deg`` among different-source pairs.

    A same-source pair starts at its reference and has none.
    """
    crossed = [p for p in pairs if p.kind == DIFFERENT and "start_gap_deg" in p.strata]
    gaps = {p.id: p.strata["start_gap_deg"] for p in crossed}
    if not gaps:
        return list(pairs)
    bounds = np.quantile(list(gaps.values()), (1 / 3, 2 / 3))
    named = {pair: TERTILES[int((gap > bounds).sum())] for pair, gap in gaps.items()}
    return [replace(p, strata={"start_gap": named[p.id], **p.strata}) if p.id in named else p for p in pairs]


def _framing(track: PoseTrack) -> str:
    ankles = (track.scores[:, [joint.LEFT_ANKLE, joint.RIGHT_ANKLE]] >= SEEN).any(axis=1)
    return "full" if ankles.mean() >= 0.5 else "half"


def _motion(driving: PoseTrack, fps: float) -> float | None:
    bones, seen = BODY.usable(driving)
    steps = seen[1:] & seen[:-1]
    return float(np.degrees(np.abs(angle_steps(bones, seen, fps)[steps]).mean()) * fps) if steps.any() else None


def _gaps(reference: PoseTrack, driving: PoseTrack) -> dict[str, float | None]:
    (wanted,), (shown,) = BODY.usable(reference[:1])
    bones, usable = BODY.usable(driving)
    both = usable & shown
    angles = np.where(both, angle_difference(bones, wanted), 0).sum(axis=1) / np.maximum(both.sum(axis=1), 1)
    alike = int(np.lexsort((angles, -both.sum(axis=1)))[0])
    seen, reference_seen = BODY.vectors(driving)[1], BODY.vectors(reference)[1][0]
    return {
        "start_gap_deg": _start_gap(reference, driving),
        "proportion_gap": _proportion_gap(np.abs(wanted), np.abs(bones[alike]), both[alike]),
        "visibility_gap": float((seen & ~reference_seen).sum() / seen.sum()) if seen.any() else None,
    }


def _start_gap(reference: PoseTrack, driving: PoseTrack) -> float | None:
    try:
        return start_gap(reference, driving)
    except NotComputable:
        return None


def _proportion_gap(wanted: np.ndarray, shown: np.ndarray, both: np.ndarray) -> float | None:
    parts = [part for part in ([bone for bone in part if both[bone]] for part in PARTS) if part]
    lengths = [(wanted[part].mean(), shown[part].mean()) for part in parts]
    ratios = np.array([np.log(ours / theirs) for ours, theirs in lengths if ours > 0 and theirs > 0])
    return float(np.abs(ratios - np.median(ratios)).mean()) if len(ratios) >= FEWEST_PARTS else None
