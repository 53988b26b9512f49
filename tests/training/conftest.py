"""A work folder with an encoded dataset in it."""

import os

import pytest
from encoded_noise import write_encoded

from infra.workspace import Workspace


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    space = Workspace(tmp_path / "work")
    write_encoded(space.encoded)
    return space


@pytest.fixture(scope="session")
def one_worker(tmp_path_factory):
    """The process group of one, and DeepSpeed on it: it cannot be had twice in a process."""
    import torch.distributed as dist

    from training import engine, prebuild

    store = dist.FileStore(str(tmp_path_factory.mktemp("store") / "store"), 1)
    before = dict(os.environ)
    os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", MASTER_ADDR="127.0.0.1", MASTER_PORT="0")
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    prebuild.load(prebuild.build())
    engine.start()
    yield
    dist.destroy_process_group()
    os.environ.clear()
    os.environ.update(before)
