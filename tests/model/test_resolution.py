import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.errors import SteadyDancerError
from model.resolution import latent_shape, output_size


@given(area=st.integers(4096, 2_000_000), height=st.integers(64, 4000), width=st.integers(64, 4000))
def test_size_fits_the_area_and_the_aspect(area, height, width):
    ideal = (area * height / width) ** 0.5, (area * width / height) ** 0.5
    if min(ideal) < 16:
        with pytest.raises(SteadyDancerError, match="no room"):
            output_size(area, height, width)
        return
    h, w = output_size(area, height, width)
    assert h % 16 == 0
    assert w % 16 == 0
    assert 0 <= ideal[0] - h < 16.001
    assert 0 <= ideal[1] - w < 16.001


@pytest.mark.parametrize(("frames", "h", "w"), [(80, 16, 16), (0, 16, 16), (81, 24, 16), (81, 16, 0)])
def test_what_does_not_fit_the_latents_is_refused(frames, h, w):
    with pytest.raises(SteadyDancerError, match="do not fit"):
        latent_shape(frames, h, w)
