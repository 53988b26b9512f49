"""The process group of the workers, listening nowhere but on the address that Ray itself uses.

Ray Train's own set-up lets the rendezvous store listen on every interface of the machine. Here the store's socket is
bound to the node's address in Ray (loopback for a local Ray) before the store takes it over.
"""

import ipaddress
import os
import socket
from datetime import timedelta

import ray
import torch.distributed as dist
from ray.train.torch import TorchConfig
from ray.train.torch.config import _set_torch_distributed_env_vars, _TorchBackend

from training import signals

_listening: socket.socket | None = None


class NodeAddressTorchConfig(TorchConfig):
    """Ray's TorchConfig (backend, ``timeout_s`` of one collective) with the rendezvous on the node's address."""

    @property
    def backend_cls(self):
        return _NodeAddressBackend


class _NodeAddressBackend(_TorchBackend):
    def on_start(self, worker_group, backend_config: TorchConfig) -> None:
        gpus = worker_group.get_resources_per_worker().get("GPU", 0)
        backend = backend_config.backend or ("nccl" if gpus else "gloo")
        address, port = worker_group.execute_single(0, _listen)
        worker_group.execute(_set_torch_distributed_env_vars)
        joining = [
            worker_group.execute_single_async(
                rank, _join, backend, address, port, rank, len(worker_group), backend_config.timeout_s
            )
            for rank in range(len(worker_group))
        ]
        ray.get(joining)


def _listen() -> tuple[str, int]:
    global _listening
    address = ray.util.get_node_ip_address()
    _listening = socket.create_server((address, 0), family=socket.AF_INET6 if ":" in address else socket.AF_INET)
    return address, _listening.getsockname()[1]


def _join(backend: str, address: str, port: int, rank: int, world: int, timeout_s: int) -> None:
    signals.watch_for_sigterm()  # here, since this runs in the main thread and the training does not
    os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = address, str(port)
    if ipaddress.ip_address(address).is_loopback:
        os.environ["GLOO_SOCKET_IFNAME"] = os.environ["NCCL_SOCKET_IFNAME"] = "lo"
    timeout = timedelta(seconds=timeout_s)
    descriptor = _listening.detach() if rank == 0 else None
    store = dist.TCPStore(address, port, world, is_master=rank == 0, timeout=timeout, master_listen_fd=descriptor)
    dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=timeout)
