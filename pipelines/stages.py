"""The units of work of curation: which stages, in which order, on what."""

from collections.abc import Callable
from typing import Any

from infra.config import section_values
from infra.schema import Config
from infra.workspace import Workspace
from pipelines.clips import FitAspect, WriteClip
from pipelines.pose import appearance
from pipelines.pose.bodies import MeasureBody, MeasureMotion, MeasureParts
from pipelines.pose.people import CleanTrack, CountPeople, EstimatePose, SaveTrack, build_pose_estimator
from pipelines.pose.window import ReadWindow
from pipelines.scan.previews import SaveStrip
from pipelines.scan.source import Probe, Scan
from pipelines.scan.window_scores import ScoreWindow
from pipelines.scan.windows import MakeWindows
from pipelines.work.stage import PerProcess, Row
from pipelines.work.unit import Unit


def scan_unit(config: Config, workspace: Workspace) -> Unit:
    """A source -> a row per candidate window, with every score that pictures alone give."""
    clip, curate = config.clip, config.curate
    windows = MakeWindows(clip.frames, clip.fps, curate.min_shot_seconds, curate.trim_seconds, curate.window_candidates)
    stages = (Probe(), Scan(), windows, ScoreWindow(), FitAspect(tuple(clip.aspects)), SaveStrip())
    return Unit("scan", "source_id", stages, workspace.units)


def pose_unit(
    config: Config,
    workspace: Workspace,
    build: Callable[[Row], Any] = build_pose_estimator,
    *,
    on_gpu: bool = False,
) -> Unit:
    """A window -> its scores of people and bodies, pose.npz and preview.jpg. ``build`` makes the estimator from the
    pose section. ``on_gpu``: stages that can use a GPU ask Ray for one.
    """
    pose = config.pose
    settings = section_values(config, "pose")["pose"]
    operational = {key: value for key, value in pose.model_dump().items() if key not in settings}
    estimator = PerProcess(settings, build, operational)
    posing = on_gpu and pose.estimator == "dwpose" and pose.device != "cpu"
    stages = (
        ReadWindow(),
        CountPeople(estimator, pose.people_samples, on_gpu=posing),
        EstimatePose(estimator, on_gpu=posing),
        MeasureBody(),
        MeasureMotion(),
        MeasureParts(),
        *appearance.stages(config.curate, on_gpu),
        *((CleanTrack(pose.fill_seconds, pose.smooth_seconds),) if pose.clean == "always" else ()),
        SaveTrack(),
    )
    return Unit("pose", "clip_id", stages, workspace.units)


def store_unit(config: Config, workspace: Workspace) -> Unit:
    """A kept clip -> clip.mp4."""
    return Unit("store", "clip_id", (WriteClip(config.clip.area, config.curate.crf),), workspace.units)
