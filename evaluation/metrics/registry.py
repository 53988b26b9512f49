"""Every metric by the name a config uses. A new metric is a file beside this one and a line here."""

import difflib

from evaluation.metrics.aesthetic_quality import AESTHETIC_QUALITY
from evaluation.metrics.background_consistency import BACKGROUND_CONSISTENCY
from evaluation.metrics.background_fidelity import BACKGROUND_PSNR, BACKGROUND_SSIM
from evaluation.metrics.background_flicker import BACKGROUND_FLICKER, FLOW_FLICKER
from evaluation.metrics.bone_angle_error import BONE_ANGLE_ERROR, CONTROL_BONE_ANGLE_ERROR
from evaluation.metrics.first_frame_lpips import FIRST_FRAME_LPIPS
from evaluation.metrics.first_frame_preservation import (
    FIRST_FRAME_GAP,
    FIRST_FRAME_KEPT,
    FIRST_FRAME_PSNR,
    FIRST_FRAME_SSIM,
)
from evaluation.metrics.hand_confidence_ratio import HAND_CONFIDENCE_RATIO
from evaluation.metrics.humanvid.fvd import HUMANVID_FVD
from evaluation.metrics.humanvid.lpips import HUMANVID_LPIPS
from evaluation.metrics.humanvid.psnr import HUMANVID_PSNR
from evaluation.metrics.humanvid.ssim import HUMANVID_SSIM
from evaluation.metrics.i2v_background import I2V_BACKGROUND
from evaluation.metrics.i2v_subject import I2V_SUBJECT
from evaluation.metrics.identity_drift import IDENTITY
from evaluation.metrics.imaging_quality import IMAGING_QUALITY
from evaluation.metrics.lpips import LPIPS
from evaluation.metrics.metric import Metric
from evaluation.metrics.missing_bones import MISSING_BONES
from evaluation.metrics.motion_driving_accuracy import (
    CONTROL_MOTION_DRIVING_ACCURACY,
    HAND_MOTION_DRIVING_ACCURACY,
    MOTION_DRIVING_ACCURACY,
    MOTION_DRIVING_AREA,
)
from evaluation.metrics.motion_energy_ratio import CONTROL_MOTION_ENERGY_RATIO, MOTION_ENERGY_RATIO
from evaluation.metrics.motion_lag import CONTROL_MOTION_LAG, MOTION_LAG
from evaluation.metrics.motion_smoothness import MOTION_SMOOTHNESS
from evaluation.metrics.paired_i3d import PAIRED_I3D
from evaluation.metrics.psnr import PSNR
from evaluation.metrics.retargeted_pck import CONTROL_PCK, RETARGETED_PCK
from evaluation.metrics.settle_time import SETTLE_TIME, SETTLED
from evaluation.metrics.ssim import SSIM
from evaluation.metrics.start_gap_jump import START_JUMP
from evaluation.metrics.subject_consistency import SUBJECT_CONSISTENCY
from evaluation.metrics.temporal_flickering import TEMPORAL_FLICKERING
from evaluation.metrics.velocity_correlation import CONTROL_VELOCITY_CORRELATION, VELOCITY_CORRELATION
from infra.errors import UsageError

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        PSNR,
        SSIM,
        LPIPS,
        FIRST_FRAME_PSNR,
        FIRST_FRAME_SSIM,
        FIRST_FRAME_LPIPS,
        FIRST_FRAME_GAP,
        FIRST_FRAME_KEPT,
        *START_JUMP,
        SETTLE_TIME,
        SETTLED,
        *IDENTITY,
        BACKGROUND_PSNR,
        BACKGROUND_SSIM,
        BACKGROUND_FLICKER,
        FLOW_FLICKER,
        I2V_SUBJECT,
        I2V_BACKGROUND,
        SUBJECT_CONSISTENCY,
        BACKGROUND_CONSISTENCY,
        TEMPORAL_FLICKERING,
        MOTION_SMOOTHNESS,
        AESTHETIC_QUALITY,
        IMAGING_QUALITY,
        BONE_ANGLE_ERROR,
        CONTROL_BONE_ANGLE_ERROR,
        MOTION_DRIVING_ACCURACY,
        CONTROL_MOTION_DRIVING_ACCURACY,
        MOTION_DRIVING_AREA,
        MISSING_BONES,
        MOTION_ENERGY_RATIO,
        CONTROL_MOTION_ENERGY_RATIO,
        VELOCITY_CORRELATION,
        CONTROL_VELOCITY_CORRELATION,
        MOTION_LAG,
        CONTROL_MOTION_LAG,
        RETARGETED_PCK,
        CONTROL_PCK,
        HAND_MOTION_DRIVING_ACCURACY,
        HAND_CONFIDENCE_RATIO,
        PAIRED_I3D,
        HUMANVID_PSNR,
        HUMANVID_SSIM,
        HUMANVID_LPIPS,
        HUMANVID_FVD,
    )
}


def select(names: list[str]) -> list[Metric]:
    """The metrics of these names, or "all", each once. Raises UsageError naming the nearest known one."""
    names = list(METRICS) if names == ["all"] else names
    for name in names:
        if name not in METRICS:
            near = difflib.get_close_matches(name, METRICS, 1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise UsageError(f"evaluate.metrics: there is no metric {name!r}.{hint}", f"Known: {', '.join(METRICS)}.")
    return [METRICS[name] for name in dict.fromkeys(names)]
