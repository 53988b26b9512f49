"""Ray: a bounded local one on loopback, or an existing cluster by address. Only what we started is stopped."""

import logging
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.errors import SteadyDancerError, UsageError
from infra.schema import Resources
from infra.workspace import Workspace

LOOPBACK = "127.0.0.1"


@contextmanager
def session(resources: Resources, workspace: Workspace) -> Iterator[None]:
    """Ray is initialised inside the block.

    Raises UsageError for a dashboard port in use and SteadyDancerError if the cluster cannot be joined.
    """
    if resources.dashboard_port is not None:
        _port_is_free(resources.dashboard_port)
    if resources.ray_address is None:
        _token(workspace)
        # Ray's own switch for a node that is alone: it takes 127.0.0.1 as its address and so listens nowhere else.
        # Asked for by _node_ip_address, loopback would be replaced by the machine's outer address.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        # No node but this one could be taken away: Ray Train's watcher for that would be a process for nothing.
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    import ray

    try:
        if resources.ray_address is not None:
            ray.init(address=resources.ray_address, logging_level=logging.ERROR, log_to_driver=False)
        else:
            ray.init(
                address="local",
                num_cpus=resources.cpus,
                num_gpus=None,
                _memory=int(resources.memory_gb * 2**30),
                object_store_memory=int(resources.object_store_gb * 2**30),
                include_dashboard=resources.dashboard_port is not None,
                dashboard_host=LOOPBACK,
                dashboard_port=resources.dashboard_port,
                logging_level=logging.ERROR,
                log_to_driver=False,
            )
    except Exception as error:  # Ray raises bare Exceptions where a part of it does not come up in time
        where = resources.ray_address or "this machine"
        raise SteadyDancerError(
            f"Ray could not be started on or joined at {where}: {error}",
            "Check resources.ray_address, or leave it out.",
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _token(workspace: Workspace) -> None:
    """A local Ray answers only processes that know this session's token."""
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", workspace.folder / ".ray-token"))
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(path)


def _port_is_free(port: int) -> None:
    with socket.socket() as probe:
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            raise UsageError(
                f"Port {port} is in use on this machine.", "Choose another resources.dashboard_port, or leave it out."
            ) from None
