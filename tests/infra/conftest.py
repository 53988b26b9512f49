import pytest


@pytest.fixture(scope="session")
def database(tmp_path_factory):
    """An empty sqlite store of MLflow. To make one takes seconds, to use a copy none."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path
