"""How long the generated person takes to get into the driver's pose, and whether it ever does."""

import numpy as np

from evaluation.metrics.driven_motion import COVERAGE, covered_motion, share_by_frame
from evaluation.metrics.evidence import Evidence, NotComputable
from evaluation.metrics.metric import Measured, Metric

WITHIN_DEG = 15.0
RUN = 3  # frames in a row: a limb that swings past the driver's has not settled


def settled_at(errors: np.ndarray) -> int | None:
    """The first of 3 frames in a row with ``errors`` (T,) of at most 15 degrees; None where there are none.

    nan, a frame that cannot be judged, ends a run.
    """
    if len(errors) < RUN:
        return None
    near = np.lib.stride_tricks.sliding_window_view(errors <= WITHIN_DEG, RUN).all(axis=1)
    return int(near.argmax()) if near.any() else None


def _errors(evidence: Evidence) -> np.ndarray:
    if (frames := len(evidence.generated)) < RUN:
        raise NotComputable(f"{frames} frames are too few: {RUN} in a row have to be near the driver")
    motion = covered_motion(evidence, "driving")
    errors = share_by_frame(np.where(motion.shown, motion.errors, 0), motion.shown).curve
    errors[motion.shown.sum(axis=1) < COVERAGE * motion.asked.sum(axis=1)] = np.nan
    return errors


def _time(evidence: Evidence) -> Measured:
    errors = _errors(evidence)
    first = settled_at(errors)
    return Measured((len(errors) if first is None else first) / evidence.fps, errors)


def _settled(evidence: Evidence) -> Measured:
    errors = _errors(evidence)
    return Measured(float(settled_at(errors) is not None), errors)


_NEAR = (
    f"{RUN} frames in a row with a mean bone angle error of at most {WITHIN_DEG:g}° (a frame counts where the video "
    "shows at least half of the bones asked for)"
)
_PREPROCESSING = "bones12-seen0.5-long0.15-within15deg-run3"
_SOURCE = "this project; beside the start jump, which a video that ignores its driver does best"
_NEEDS = frozenset({"driving", "pose"})

SETTLE_TIME = Metric(
    name="settle_time",
    version=2,
    preprocessing=f"{_PREPROCESSING}-censored",
    definition=f"Seconds to the first of {_NEAR}. A video that never gets there counts with its whole length, so that "
    "it stays in the mean, which is then the restricted mean of survival analysis: a lower bound, comparable between "
    "videos of one length. Read settled beside it.",
    source=_SOURCE,
    range=(0, float("inf")),
    unit="s",
    direction="lower",
    needs=_NEEDS,
    compute=_time,
)

SETTLED = Metric(
    name="settled",
    version=2,
    preprocessing=_PREPROCESSING,
    definition=f"1 where the video has {_NEAR}, else 0: its mean is the share of videos that ever get into their "
    "driver's pose.",
    source=_SOURCE,
    range=(0, 1),
    unit="",
    direction="higher",
    needs=_NEEDS,
    compute=_settled,
)
