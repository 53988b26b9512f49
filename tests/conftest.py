"""Set before any library is imported, in the test process and so in every process it starts."""

import os
import socket

import pytest
from hypothesis import settings

from infra import environment

environment.prepare()
os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
settings.register_profile("steadydancer", deadline=None)  # a busy machine is no failure
settings.load_profile("steadydancer")


def pytest_collection_modifyitems(items):
    """The longest files first, so that two workers end together."""
    longest = ["test_walk.py", "test_zero_and_resume.py", "test_curate.py"]
    items.sort(key=lambda item: longest.index(item.path.name) if item.path.name in longest else len(longest))


@pytest.fixture(scope="session")
def database(tmp_path_factory):
    """An empty sqlite store of MLflow. To make one takes seconds, to use a copy none."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def server(tmp_path, database):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    from mlflow_server import Server

    server = Server(tmp_path, port, database)
    server.start()
    yield server
    server.kill()
