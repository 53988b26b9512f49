"""Set before any library is imported, in the test process and so in every process it starts."""

import os

from infra import environment

environment.prepare()
os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
