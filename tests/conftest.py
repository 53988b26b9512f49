"""Set before any library is imported, in the test process and so in every process it starts."""

import os

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
