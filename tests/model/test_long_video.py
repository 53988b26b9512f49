from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from infra import schema
from infra.errors import UsageError
from model.animate import generate
from model.checkpoint import build_model
from model.encoders import build_encoders
from model.guidance import forwards
from model.inputs import Motion, to_pixels, to_signed
from model.windows import spans

SIZE, WINDOW, OVERLAP, FRAMES = (64, 48), 21, 4, 53
WINDOWS = spans(FRAMES, WINDOW, OVERLAP + 1)
MODES = pytest.mark.parametrize("windows", ["joint", "chained"])


@pytest.fixture(scope="module")
def encoders():
    return build_encoders(schema.Encode(), schema.Model())


@pytest.fixture(scope="module")
def tiny():
    """With kernels for the pose, which are zero before training."""
    model = build_model(schema.Model(), 0)
    with torch.no_grad():
        model.patch_embedding_fuse.weight[:, 36:] = model.patch_embedding_fuse.weight[:, :32]
    return model


def picture(level: float, tilt: float = 0.0) -> np.ndarray:
    rows, columns = np.mgrid[-1 : 1 : SIZE[0] * 1j, -1 : 1 : SIZE[1] * 1j]
    return (level + tilt * rows + 20 * columns)[..., None].repeat(3, 2).clip(0, 255).astype(np.uint8)


REFERENCE = picture(60, 50)
BRIGHTENING = [picture(60 + 3 * t) for t in range(FRAMES)]


def run(model, encoders, pictures, window=WINDOW, seed=0, progress=None, **options):
    settings = schema.Animate(**({"steps": 3, "area": SIZE[0] * SIZE[1], "overlap": OVERLAP} | options))
    motion = Motion(pictures, [255 - shown for shown in pictures])
    return generate(
        model, encoders, REFERENCE, motion, "a dancer", settings, seed=seed, window=window, progress=progress
    )


@MODES
def test_three_windows(tiny, encoders, windows):
    assert len(WINDOWS) == 3
    calls = []
    video = run(tiny, encoders, BRIGHTENING, windows=windows, progress=lambda *counted: calls.append(counted))
    assert video.shape == (FRAMES, *SIZE, 3)
    passes = 3 * forwards(3, schema.Animate().pose_interval)
    assert calls[-1] == (passes, passes)
    assert np.array_equal(video, run(tiny, encoders, BRIGHTENING, windows=windows))

    plain = run(tiny, encoders, BRIGHTENING[:WINDOW], window=81)
    assert np.array_equal(plain, run(tiny, encoders, BRIGHTENING[:WINDOW], windows=windows, overlap=20))
    assert np.abs(video[0].astype(int) - plain[0]).mean() < 0.25 * plain[0].std()
    if windows == "chained":  # its first window is nothing else, up to the fade
        unfaded = WINDOWS[1].start + 1
        assert np.array_equal(video[:unfaded], plain[:unfaded])
    assert not np.array_equal(plain, run(tiny, encoders, BRIGHTENING[:WINDOW], windows=windows, seed=1))


@MODES
def test_seams_of_the_untrained_model(encoders, windows):
    """Its videos hardly change, so that a seam would stand out; a model that moves is below, and in the benchmark."""
    video = run(build_model(schema.Model(), 0), encoders, BRIGHTENING, windows=windows).astype(float)
    assert seam(video, BORDERS) < 1.2


def test_overlap_of_a_whole_window_is_refused(tiny, encoders):
    for windows in ("joint", "chained"):
        with pytest.raises(UsageError, match=r"animate\.overlap"):
            run(tiny, encoders, BRIGHTENING, windows=windows, overlap=20)


class Known(nn.Module):
    """The exact velocity to a clip that is known: the reference, then what :meth:`clip` makes of the conditions."""

    def __init__(self):
        super().__init__()
        self.anywhere = nn.Parameter(torch.zeros(()))

    def forward(self, latent_BCTHW, timestep_B, conditions):
        reference = conditions.y_BCTHW[:, 4:, :1]
        clean = torch.cat([reference, self.clip(reference, conditions.condition_BCTHW)[:, :, 1:]], dim=2)
        return (latent_BCTHW - clean) * 1000 / timestep_B


class Posed(Known):
    """The pose's pictures themselves."""

    def clip(self, reference, pose):
        return pose


class Moved(Known):
    """The reference, changed as the pose has changed since the window's first frame."""

    def clip(self, reference, pose):
        return reference + pose - pose[:, :, :1]


def known(model, encoders, windows, pictures=BRIGHTENING, **options):
    # Without guidance and the cache, which is about the transformer.
    options = {"text_guidance": 1.0, "pose_interval": (0.0, 0.0), "cache": False} | options
    return run(model, encoders, pictures, windows=windows, **options).astype(float)


def seam(video, borders):
    """The largest step at a border by the median step; a step: from the last frame of a latent one to the next.

    The first is none: it goes from the reference to where the pose begins.
    """
    steps = {t: np.abs(video[t + 1] - video[t]).mean() for t in {*range(4, len(video) - 1, 4), *borders}}
    return max(steps[t] for t in borders) / np.median(list(steps.values()))


BORDERS = [t for before, window in pairwise(WINDOWS) for t in (window.start, before.stop - 1)]


@MODES
def test_seams_do_not_show(encoders, windows):
    video = known(Posed(), encoders, windows)
    shown = np.stack([REFERENCE, *BRIGHTENING[1:]])
    expected = to_pixels(encoders.codec.decode(encoders.codec.encode(to_signed(shown).transpose(0, 1)[None])))
    np.testing.assert_allclose(video[1:], expected[1:], atol=2)
    assert seam(video, BORDERS) < 1.2


def in_a_row(model, encoders):
    """Windows that know nothing of each other."""
    starts = range(0, FRAMES - WINDOW, WINDOW)
    pieces = [known(model, encoders, "joint", BRIGHTENING[start : start + WINDOW]) for start in starts]
    return np.concatenate(pieces), [start - 1 for start in starts[1:]]


def test_chained_windows_go_on_from_where_the_one_before_came_to(encoders):
    assert seam(known(Moved(), encoders, "chained"), BORDERS) < 1.2
    assert seam(known(Moved(), encoders, "joint"), BORDERS) > 1.2  # every window moves away from the reference anew


def test_chained_windows_neither_darken_nor_brighten(encoders):
    still = known(Moved(), encoders, "chained", [picture(128)] * (WINDOW + 16 * 5))
    assert abs(still[-1].mean() - still[1].mean()) < 1


def test_windows_in_a_row_have_seams(encoders):
    """What the measure says of them: it can tell."""
    for model in (Posed(), Moved()):
        assert seam(*in_a_row(model, encoders)) > 1.2
