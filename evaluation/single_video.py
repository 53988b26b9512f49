"""One metric of one video, from files: the command `metric`."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.backbones.weights import WeightFiles
from evaluation.features import Features, Here
from evaluation.metrics.evidence import Evidence, same_aspect
from evaluation.metrics.metric import Metric
from evaluation.metrics.noise_floor import MOTION_METRICS, noise_floor
from evaluation.metrics.registry import select
from infra.errors import SteadyDancerError, UsageError
from infra.schema import Config
from infra.workspace import Workspace, owning_config
from model.pose.tracks import PoseTrack, read_pose_file

DRIVING = "Name it: --driving VIDEO."


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
    that is not known and rules without a driver, SteadyDancerError for files that cannot be read. Features of networks
    are kept in the work folder of ``config`` if there is one.
    """
    (metric,) = select([name])
    if same_source and driving is None:
        raise UsageError("--same-source says that the driving video is the ground truth, and there is none.", DRIVING)
    if by_index and driving is None and driving_pose is None:
        raise UsageError("--by-index says which frame of the driver belongs to a frame, and there is none.", DRIVING)
    evidence = _evidence(config, metric, generated, reference, driving, generated_pose, driving_pose)
    evidence.same_source = same_source
    if by_index:
        evidence.time_map = np.arange(len(evidence.generated))
    with _features(config) as folder:
        weights = WeightFiles(config.evaluate)
        evidence.embedder = Features(folder, weights, Here(weights)) if metric.backbones else None
        score = metric.score(evidence)
    return {
        "metric": name,
        "id": metric.identify(config),
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


def measure_floor(config: Config, name: str, driving: Path, driving_pose: Path | None = None) -> dict[str, Any]:
    """What the motion metric ``name`` says of a perfect video of the driver (:mod:`evaluation.metrics.noise_floor`).

    Raises UsageError for a metric that has no floor, SteadyDancerError where nobody is found in the driver.
    """
    from model.pose.estimator import build_estimator

    floors = [metric.name for metric in MOTION_METRICS]
    (metric,) = select([name])
    if name not in floors:
        raise UsageError(f"{name} is no metric of motion, and has no noise floor.", f"These have: {', '.join(floors)}.")
    frames, fps = _video(driving)
    estimator = build_estimator(config.pose)
    track = _pose(driving_pose, len(frames)) if driving_pose else next(iter(estimator.estimate(frames)), None)
    if track is None:
        raise SteadyDancerError(f"Nobody was found in {driving}.", "Use a video that shows one person.")
    score = noise_floor(track, fps, frames, estimator)[name]
    about = {"metric": name, "id": metric.identify(config), "noise_floor": score.value, "unit": metric.unit}
    perfect = {"direction": metric.direction, "target": metric.target}
    return {**about, **perfect, "status": score.status, "reason": score.reason, "frames": len(frames), "fps": fps}


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
    estimator = build_estimator(config.pose) if metric.needs & {"pose", "driving", "reference_pose"} else None
    if "pose" in metric.needs:
        evidence.estimator = Known([_pose(generated_pose, len(frames))]) if generated_pose else estimator
    if reference is not None:
        evidence.reference = _fitted(read_picture(reference), frames.shape[1:3], reference)
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
    return evidence


@contextmanager
def _features(config: Config) -> Iterator[Path]:
    """Where `evaluate` keeps them, if the work folder is one; else nowhere."""
    if owning_config(config.work) is not None:
        yield Workspace(Path(config.work).expanduser()).evaluation_scores / "features"
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


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


def _fitted(picture: np.ndarray, size: tuple[int, int], path: Path) -> np.ndarray:
    """The reference in the size of the video, as the model is given it: bicubic without antialiasing."""
    import cv2

    if not same_aspect(size, picture.shape[:2]):
        (height, width), (from_height, from_width) = size, picture.shape[:2]
        raise UsageError(
            f"{path} is {from_width}x{from_height}, the video {width}x{height}: another aspect.",
            "Crop the reference as it was cropped for the model.",
        )
    resized = cv2.resize(picture.astype(np.float32), size[::-1], interpolation=cv2.INTER_CUBIC)
    return np.clip(np.rint(resized), 0, 255).astype(np.uint8)
