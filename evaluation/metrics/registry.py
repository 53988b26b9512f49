"""Every metric by the name a config uses. A new metric is a file beside this one and a line here."""

import difflib

from evaluation.metrics.first_frame_psnr import FIRST_FRAME_PSNR
from evaluation.metrics.metric import Metric
from evaluation.metrics.motion_energy_ratio import MOTION_ENERGY_RATIO
from evaluation.metrics.psnr import PSNR
from evaluation.metrics.ssim import SSIM
from evaluation.metrics.temporal_flickering import TEMPORAL_FLICKERING
from infra.errors import UsageError

METRICS: dict[str, Metric] = {
    metric.name: metric for metric in (PSNR, SSIM, FIRST_FRAME_PSNR, TEMPORAL_FLICKERING, MOTION_ENERGY_RATIO)
}


def select(names: list[str]) -> list[Metric]:
    """The metrics of these names, in this order, each once. Raises UsageError naming the nearest known one."""
    for name in names:
        if name not in METRICS:
            near = difflib.get_close_matches(name, METRICS, 1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise UsageError(f"evaluate.metrics: there is no metric {name!r}.{hint}", f"Known: {', '.join(METRICS)}.")
    return [METRICS[name] for name in dict.fromkeys(names)]
