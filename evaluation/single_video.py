"""One metric of one video, from files: the command `metric`."""

from pathlib import Path
from typing import Any

import numpy as np

from evaluation.backbones.weights import WeightFiles
from evaluation.features import Features, Here
from evaluation.metrics.evidence import Evidence
from evaluation.metrics.metric import Metric
from evaluation.metrics.registry import select
from infra.errors import UsageError
from infra.schema import Config
from model.pose.tracks import PoseTrack, read_pose_file


def measure(
    config: Config,
    name: str,
    generated: Path,
    *,
    reference: Path | None = None,
    driving: Path | None = None,
    generated_pose: Path | None = None,
    driving_pose: Path | None = None,
    same_source: bool = False,
    by_index: bool = False,
) -> dict[str, Any]:
    """What ``metric`` says of the video ``generated``, as plain data: value or why there is none, id, definition.

    Poses that are not given are estimated where the metric needs them. ``same_source``: the driving video is the ground
    truth. ``by_index``: frame i is driven by frame i, whatever the two frame rates are. Raises UsageError for a metric
    that is not known, SteadyDancerError for files that cannot be read.
    """
    (metric,) = select([name])
    evidence = _evidence(config, metric, generated, reference, driving, generated_pose, driving_pose)
    evidence.same_source = same_source
    if by_index:
        evidence.time_map = np.arange(len(evidence.generated))
    score = metric.score(evidence)
    return {
        "metric": name,
        "id": metric.identify(config.pose.estimator),
        "value": score.value,
        "unit": metric.unit,
        "status": score.status,
        "reason": score.reason,
        "direction": metric.direction,
        "target": metric.target,
        "frames": len(evidence.generated),
        "fps": evidence.fps,
        "curve": score.curve,
        "definition": metric.definition,
    }


def _evidence(
    config: Config,
    metric: Metric,
    generated: Path,
    reference: Path | None,
    driving: Path | None,
    generated_pose: Path | None,
    driving_pose: Path | None,
) -> Evidence:
    from model.pose.estimator import build_estimator
    from model.pose.reading import read_picture

    frames, fps = _video(generated)
    evidence = Evidence(generated=frames, fps=fps)
    posed = metric.needs & {"pose", "driving", "reference_pose"} or any("person" in n for n in metric.backbones)
    estimator = build_estimator(config.pose) if posed else None
    if "pose" in metric.needs:
        evidence.estimator = Known([_pose(generated_pose, len(frames))]) if generated_pose else estimator
    if reference is not None:
        evidence.reference = _fitted(read_picture(reference), frames.shape[1:3])
        if estimator is not None:
            found = estimator.estimate(evidence.reference[None])
            evidence.reference_pose = found[0] if found else None
    if driving is not None:
        evidence.driving_frames, evidence.driving_fps = _video(driving)
    if driving_pose is not None:
        evidence.driving = _pose(driving_pose, None if driving is None else len(evidence.driving_frames))
        evidence.driving_fps = evidence.driving_fps or read_pose_file(driving_pose).about.get("fps", fps)
    elif driving is not None and "driving" in metric.needs:
        found = estimator.estimate(evidence.driving_frames)
        evidence.driving = found[0] if found else None
    weights = WeightFiles(config.evaluate)
    if metric.backbones:
        evidence.embedder = Features(Path(config.work) / "features", weights, Here(weights))
    return evidence


class Known:
    """An estimator that was told."""

    def __init__(self, people: list[PoseTrack]):
        self.people = people

    def estimate(self, frames: np.ndarray) -> list[PoseTrack]:
        return self.people


def _video(path: Path) -> tuple[np.ndarray, float]:
    from model.video import frames, probe

    return np.stack([image for _, image in frames(path)]), probe(path).fps


def _pose(path: Path, frames: int | None) -> PoseTrack:
    track = PoseTrack.load(path)
    if frames is not None and len(track) != frames:
        raise UsageError(f"{path} has the poses of {len(track)} frames, its video {frames}.")
    return track


def _fitted(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The reference in the size of the video, as the model is given it: bicubic without antialiasing."""
    import cv2

    resized = cv2.resize(picture.astype(np.float32), size[::-1], interpolation=cv2.INTER_CUBIC)
    return np.clip(np.rint(resized), 0, 255).astype(np.uint8)
