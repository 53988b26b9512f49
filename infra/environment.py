"""Environment variables that libraries read once, when they are imported or started. The roof calls this first."""

import os
from pathlib import Path


def prepare() -> None:
    """Quiet, offline-friendly, loopback-only defaults. What the user has set stays."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "steadydancer"
    defaults = {
        "OMP_NUM_THREADS": "1",  # parallelism comes from processes; threads of several of them fight for cores
        "TORCH_EXTENSIONS_DIR": str(cache / "torch_extensions"),  # DeepSpeed's compiled ops, built once
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_TRAIN_V2_ENABLED": "1",
        "GX_ANALYTICS_ENABLED": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_LOGGING_LEVEL": "WARNING",  # the first use of a sqlite store logs every migration
        "DO_NOT_TRACK": "true",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
        "DECORD_EOF_RETRY_MAX": "64",
        "GLOG_minloglevel": "3",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TOKENIZERS_PARALLELISM": "false",
    }
    if not Path("/dev/nvidiactl").exists():
        defaults["DS_ACCELERATOR"] = "cpu"
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
