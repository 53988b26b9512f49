"""How far a value of ours is from the file's."""

import numpy as np
import pytest

from model.pose.comparison import difference


@pytest.mark.parametrize("ours, theirs, apart", [(1.4, 1, 0.4), (0.3, True, 0.7), (-0.2, np.uint8(0), 0.2)])
def test_ours_is_not_cut_to_a_whole_number_because_theirs_is_one(ours, theirs, apart):
    assert difference(ours, theirs) == pytest.approx(apart)
    assert difference(np.float64(0.1), np.float32(0.1)) == 0 and difference(1.0, 1) == difference(True, 1) == 0
