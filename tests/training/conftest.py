"""A work folder with an encoded dataset in it."""

import pytest
from encoded_noise import write_encoded

from infra.workspace import Workspace


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    space = Workspace(tmp_path / "work")
    write_encoded(space.encoded)
    return space
