"""What is seen of a running stage: a row of metrics per step for MLflow, and the line that the driver shows."""

import resource
import time

import torch
from torch import Tensor

from infra.errors import SteadyDancerError
from model.transformer import model_config
from training import signals
from training.checkpoint import Progress
from training.job import Job
from training.planning import flops
from training.planning.hardware import called

TIMESTEP_BUCKETS = 10


class Observation:
    """Of one rank; only rank 0 tells anybody."""

    def __init__(self, job: Job, device: torch.device, messages: list[str]):
        self.job, self.device, self.messages = job, device, messages
        self.first = torch.distributed.get_rank() == 0
        self.began = time.time()
        self.useful_s = 0.0
        self.stage = job.config.train.stages[job.number - 1]
        gpu = called(torch.cuda.get_device_name(device)) if device.type == "cuda" else None
        self.peak_tflops = gpu and gpu.tflops

    def empty_buckets(self) -> Tensor:
        """(2, TIMESTEP_BUCKETS): summed losses and numbers of samples by timestep."""
        return torch.zeros(2, TIMESTEP_BUCKETS, dtype=torch.float64, device=self.device)

    def count(self, buckets: Tensor, timestep_B: Tensor, loss_B: Tensor, present_B: Tensor) -> None:
        """Adds samples to the buckets of their timesteps, 0..1000."""
        places = (timestep_B * TIMESTEP_BUCKETS / 1000).long().clamp(0, TIMESTEP_BUCKETS - 1)
        buckets[0].index_add_(0, places, loss_B.double() * present_B)
        buckets[1].index_add_(0, places, present_B.double())

    def step(
        self,
        row: dict,
        buckets: Tensor,
        *,
        seconds: float,
        waited_s: float,
        shape_THW: tuple[int, int, int],
        progress: Progress,
    ) -> None:
        """Tells MLflow of one step. ``seconds`` it took beside ``waited_s`` that it waited for its clips."""
        if not self.first or self.job.run is None:
            return
        t, h, w = shape_THW
        whole_s = seconds + waited_s
        self.useful_s += whole_s * row["applied"]
        scalars = {name: value for name, value in row.items() if name not in ("clips", "learning_rate", "step")}
        metrics = {
            **scalars,
            **{f"learning_rate/{role}": rate for role, rate in row["learning_rate"].items()},
            "step_seconds": whole_s,
            "data_wait_share": waited_s / whole_s,
            "samples_per_second": row["samples"] / whole_s,
            "tokens_per_second": row["samples"] * (t + 2) * h * w / 4 / whole_s,
            **self._utilisation(row["samples"] / whole_s, shape_THW),
            "goodput": self.useful_s / (time.time() - self.began),
            "peak_memory_gb": self._peak(),
            "skipped_steps": progress.skipped,
            "unreadable_clips": len(progress.unreadable),
        }
        sums, numbers = buckets.tolist()
        for place, (total, number) in enumerate(zip(sums, numbers, strict=True)):
            if number:
                metrics[f"loss_by_timestep/{place * 1000 // TIMESTEP_BUCKETS:03d}"] = total / number
        self._log(metrics, row["step"])

    def tell(self, progress: Progress) -> None:
        """Tells the driver where training stands, and what there is to say."""
        if not self.first:
            return
        loss = progress.history[-1]["loss"] if progress.history else None
        state = {"began": self.began, "step": progress.step, "loss": loss, "messages": self.messages}
        try:
            signals.show(self.job.folder, state)
        except OSError as error:  # a full disk: training goes on, and tells it once it can
            self.messages.append(f"Where training stands after step {progress.step} could not be told: {error}")

    def validation(self, row: dict[str, float]) -> None:
        if self.first and self.job.run is not None:
            metrics = {f"validation_{name}": value for name, value in row.items() if name != "step"}
            self._log(metrics, int(row["step"]))

    def _log(self, metrics: dict[str, float], step: int) -> None:
        """What cannot be written down is told and lost: the other ranks would wait for one that stops for it."""
        try:
            self.job.run.log_metrics(metrics, step=step)
        except SteadyDancerError as error:
            self.messages.append(f"The metrics of step {step} are lost. {error}")

    def _utilisation(self, samples_per_second: float, shape_THW: tuple[int, int, int]) -> dict[str, float]:
        """Model FLOPs (what the mathematics asks, without what is computed anew) per worker, and of its peak."""
        sample = flops.step(model_config(self.job.config.model.size), shape_THW, self.stage, "none").model
        tflops = sample * samples_per_second / torch.distributed.get_world_size() / 1e12
        return {"tflops_per_worker": tflops, **({"mfu": tflops / self.peak_tflops} if self.peak_tflops else {})}

    def _peak(self) -> float:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 2**30
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
