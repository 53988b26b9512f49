from pathlib import Path

import pytest
from animating import checkpoint, fake, files, stub  # noqa: F401 - fixtures


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of reference vectors and real clips that lies beside a developer's checkout."""
    folder = Path(__file__).parents[2] / "../shared"
    if not folder.is_dir():
        pytest.skip("the reference vectors and real clips are not on this machine")
    return folder
