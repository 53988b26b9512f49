"""Set before any library is imported, in the test process and so in every process it starts."""

import os

from infra import environment

environment.prepare()
os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"


def pytest_collection_modifyitems(items):
    """The longest file first, so that two workers end together."""
    items.sort(key=lambda item: item.path.name != "test_walk.py")
