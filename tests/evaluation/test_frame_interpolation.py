"""Which frames are predicted from which, and what a prediction is compared with."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.backbones.frame_interpolation import AMT_S, held_out_errors, load, padded, uncovered
from infra.errors import SteadyDancerError

HAIR = 1e-4
"""In 0..1: keeps a prediction that is a whole level from being cut to the one below."""


def flat(*levels: int, size=(16, 32)) -> np.ndarray:
    return np.stack([np.full((*size, 3), level, np.uint8) for level in levels])


def mean(before, after):
    return (before + after) / 2 + HAIR


def smoothness(interpolator, frames: np.ndarray) -> float:
    return 1 - float(np.nanmean(held_out_errors(interpolator, frames))) / 255


def test_a_ramp_is_smooth_and_an_alternation_is_not():
    assert smoothness(mean, flat(*range(0, 250, 3))) == 1
    assert smoothness(mean, flat(*[0, 51] * 5)) == pytest.approx(0.8, abs=1e-7)
    assert smoothness(mean, flat(*[40] * 9)) == 1


def test_a_shift_is_smooth_for_an_interpolator_that_knows_it():
    picture = np.random.default_rng(0).integers(0, 256, (16, 48, 3), dtype=np.uint8)
    moving = np.stack([np.roll(picture, t, axis=1) for t in range(7)])
    assert smoothness(lambda before, after: torch.roll(before, 1, 3) + HAIR, moving) == 1
    assert smoothness(mean, moving) < 0.9


@pytest.mark.parametrize(("frames", "compared"), [(3, [1]), (4, [1]), (5, [1, 3]), (6, [1, 3]), (81, range(1, 81, 2))])
def test_odd_frames_between_two_even_ones_are_compared(frames, compared):
    errors = held_out_errors(mean, flat(*[0] * frames))
    assert np.flatnonzero(np.isfinite(errors)).tolist() == list(compared)


def test_an_error_belongs_to_the_frame_and_its_two_neighbours():
    errors = held_out_errors(mean, flat(10, 30, 50, 50, 90))
    assert errors[[1, 3]].tolist() == [0, 20]


def test_predictions_are_cut_to_whole_levels_and_to_the_range():
    assert held_out_errors(mean, flat(10, 12, 13))[1] == 1  # 11.5 is 11
    assert held_out_errors(lambda before, after: before + 9, flat(0, 255, 0))[1] == 0
    assert held_out_errors(lambda before, after: before - 9, flat(9, 0, 9))[1] == 0


@given(height=st.integers(1, 40), width=st.integers(1, 40))
@settings(max_examples=25, deadline=None)
def test_padding_is_taken_off_again(height, width):
    picture = torch.rand(1, 3, height, width)
    shown = padded(picture)
    assert all(side % 16 == 0 for side in shown.shape[2:])
    assert torch.equal(uncovered(shown, (height, width)), picture)
    assert set(shown.unique().tolist()) == set(picture.unique().tolist())


class Half(torch.nn.Module):
    def forward(self, before, after):
        return (before + after) / 2


class OneOnly(torch.nn.Module):
    def forward(self, before):
        return before


def test_a_torchscript_file_is_loaded_and_another_refused(tmp_path):
    torch.jit.script(Half()).save(tmp_path / "half.pt")
    network = load({"amt_s": tmp_path / "half.pt"})
    assert AMT_S.embed(network, flat(0, 51, 0, 0, 0), None)[[1, 3]].tolist() == [51, 0]

    torch.jit.script(OneOnly()).save(tmp_path / "one.pt")
    (tmp_path / "text.pt").write_text("no archive")
    for name in ("one.pt", "text.pt", "missing.pt"):
        with pytest.raises(SteadyDancerError, match="TorchScript"):
            load({"amt_s": tmp_path / name})


def test_the_stand_in_measures_a_video():
    network = AMT_S.random(0)
    frames = np.random.default_rng(1).integers(0, 256, (5, 20, 36, 3), dtype=np.uint8)
    errors = AMT_S.embed(network, frames, None)
    assert errors.shape == (5,) and np.isfinite(errors[[1, 3]]).all()
    assert np.array_equal(errors, AMT_S.embed(AMT_S.random(0), frames, None), equal_nan=True)
