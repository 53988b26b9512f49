"""A short form of the campaign `tests/campaigns/damaged_files.py`."""

import runpy
from pathlib import Path

import numpy as np
from rich.console import Console

from model import video

CAMPAIGN = Path(__file__).parents[1] / "campaigns" / "damaged_files.py"


def test_damaged_files_are_quarantined_or_scored_and_harm_no_other(tmp_path):
    draw = np.random.default_rng(0)
    base = draw.integers(0, 255, (18, 32, 3)).astype(np.uint8).repeat(8, 0).repeat(8, 1)
    for number in range(2):
        images = (np.roll(base, (number + 1) * k, axis=1) for k in range(90))
        video.write(tmp_path / f"dancer_{number}.mp4", images, 15)
    campaign = runpy.run_path(str(CAMPAIGN))["campaign"]
    assert campaign(sorted(tmp_path.glob("*.mp4")), 20, 7, Console(stderr=True), good_ones=1) == []
