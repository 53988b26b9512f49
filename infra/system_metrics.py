"""How busy the machine is while a step runs, as MLflow's page of system metrics expects it."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol


class Run(Protocol):
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None: ...


@contextmanager
def sampled(run: Run, seconds: float, say: Callable[[str], None], began: float) -> Iterator[None]:
    """While the block runs, a thread logs the load of this machine's CPU, memory, disk, network and GPUs every
    ``seconds`` (0: never) as ``system/...``. The step is in seconds since the run first began (``began``, since 1970),
    so that it grows from one attempt to the next.

    What keeps it from sampling is said once and ends it, and nothing else.
    """
    if not seconds:
        yield
        return
    done = threading.Event()
    thread = threading.Thread(target=_sample, args=(run, seconds, say, began, done), name="system-metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(seconds)


def _sample(run: Run, seconds: float, say: Callable[[str], None], began: float, done: threading.Event) -> None:
    try:
        monitors = _monitors(say)
        while not done.wait(seconds):
            for monitor in monitors:
                monitor.collect_metrics()
            values = {name: value for monitor in monitors for name, value in monitor.aggregate_metrics().items()}
            run.log_metrics({f"system/{n}": value for n, value in values.items()}, step=int(time.time() - began))
            for monitor in monitors:
                monitor.clear_metrics()
    except Exception as error:  # noqa: BLE001 whatever a driver or the machine raises, the work goes on without
        say(f"System metrics are no longer sampled: {type(error).__name__}: {error}")


def _monitors(say: Callable[[str], None]) -> list:
    import psutil
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor
    from mlflow.system_metrics.metrics.rocm_monitor import ROCMMonitor

    psutil.cpu_percent()  # it tells what was since it was last asked
    monitors = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
    for kind, device in ((GPUMonitor, "/dev/nvidiactl"), (ROCMMonitor, "/dev/kfd")):
        try:
            monitors.append(kind())
        except (ImportError, RuntimeError) as error:
            if Path(device).exists():
                say(f"The GPUs' load is not sampled: {error}")
    return monitors
