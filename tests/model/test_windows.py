from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.errors import UsageError
from model.windows import Span, crossfaded, fusion_weights, reused_noise, spans


@st.composite
def plans(draw):
    window = draw(st.integers(2, 24))
    return draw(st.integers(1, 100)), window, draw(st.integers(1, window - 1))


@settings(max_examples=100, deadline=None)
@given(plans())
def test_spans_cover_the_video_in_windows_of_one_size(plan):
    total, window, overlap = plan
    cut = spans(total, window, overlap)
    if total <= window:
        assert cut == [(0, total)]
        return
    assert cut[0].start == 0
    assert cut[-1].stop == total
    assert all(span.stop - span.start == window for span in cut)
    shared = [before.stop - after.start for before, after in pairwise(cut)]
    assert set(shared[:-1]) <= {overlap}
    assert overlap <= shared[-1] < window


@pytest.mark.parametrize("numbers", [(0, 9, 3), (9, 0, 0), (30, 9, 9), (30, 9, 0), (30, 9, -1)])
def test_numbers_that_allow_no_windows(numbers):
    with pytest.raises(UsageError):
        spans(*numbers)


def test_one_window_has_no_overlap_to_be_wrong():
    assert spans(9, 9, 20) == [Span(0, 9)]


@settings(max_examples=100, deadline=None)
@given(plans())
def test_fusion_weights_share_every_slot(plan):
    total, window, overlap = plan
    cut = spans(total, window, overlap)
    weights = fusion_weights(cut, total)
    torch.testing.assert_close(weights.sum(0), torch.ones(total))
    assert (weights >= 0).all()
    for row, span in zip(weights, cut, strict=True):
        assert not row[: span.start + bool(span.start)].any()  # nothing of a later window's first slot
        assert not row[span.stop :].any()


def test_fusion_weights_are_linear_over_an_overlap():
    weights = fusion_weights([Span(0, 8), Span(4, 12)], 12)
    assert weights[1].tolist() == [0, 0, 0, 0, 0, 0.25, 0.5, 0.75, 1, 1, 1, 1]
    assert weights[0].tolist() == [1, 1, 1, 1, 1, 0.75, 0.5, 0.25, 0, 0, 0, 0]


@settings(max_examples=50, deadline=None)
@given(plans(), st.integers(0, 2**32))
def test_every_window_starts_from_the_same_noise(plan, seed):
    total, window, overlap = plan
    shape = (2, total, 2, 3)
    noise = reused_noise(shape, window, overlap, torch.Generator().manual_seed(seed))
    assert noise.shape == (1, *shape)
    drawn = torch.randn(1, 2, min(total, window), 2, 3, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(noise[:, :, :window], drawn)
    assert torch.equal(noise, reused_noise(shape, window, overlap, torch.Generator().manual_seed(seed)))
    frames = [sorted(noise[0, :, span.start : span.stop].movedim(1, 0).tolist()) for span in spans(*plan)]
    assert all(window_frames == frames[0] for window_frames in frames)


def test_reused_noise_is_shuffled_and_of_unit_variance():
    noise = reused_noise((16, 61, 8, 8), 21, 5, torch.Generator().manual_seed(0))
    assert noise.std(dim=(0, 1, 3, 4)).sub(1).abs().max() < 0.1
    assert not torch.equal(noise[:, :, 21:37], noise[:, :, :16])


def test_crossfade_is_linear_in_pixel_values():
    pieces = [np.full((8, 2, 3, 3), value, np.uint8) for value in (0, 200)]
    mixed = crossfaded(pieces, [Span(0, 8), Span(4, 12)])
    assert mixed.dtype == np.uint8
    assert mixed.shape == (12, 2, 3, 3)
    assert mixed[:, 0, 0, 0].tolist() == [0, 0, 0, 0, 0, 50, 100, 150, 200, 200, 200, 200]


@settings(max_examples=20, deadline=None)
@given(plans())
def test_crossfade_of_pieces_of_one_video_is_that_video(plan):
    cut = spans(*plan)
    video = np.random.default_rng(0).integers(0, 256, (plan[0], 2, 2, 3), dtype=np.uint8)
    assert np.array_equal(crossfaded([video[span.start : span.stop] for span in cut], cut), video)
