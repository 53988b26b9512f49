"""What a video cost to make: seconds, device, peak memory, passes of the network. Kept beside it, outside its id."""

import json
import resource
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from evaluation.seeds import VideoKey
from infra.commits import Commit

COST = "cost.json"
SCHEMA = pa.schema(
    [
        ("model", pa.string()),
        ("pair", pa.string()),
        ("seed", pa.int64()),
        ("seconds", pa.float64()),
        ("peak_mib", pa.float64()),
        ("device", pa.string()),
        ("frames", pa.int32()),
        ("nfe", pa.int32()),
    ]
)
"""One row per video that was made here; of videos made elsewhere nothing is known."""


@dataclass
class Cost:
    """``seconds`` of wall time from opened inputs to frames, without loading the model; ``peak_mib`` of GPU memory, on
    a CPU the process's largest resident memory so far; ``nfe``: forward passes of the transformer, steps times
    passes a step; None where the generator tells none.
    """

    seconds: float = 0.0
    peak_mib: float = 0.0
    device: str = "cpu"
    frames: int = 0
    nfe: int | None = None


@contextmanager
def measured() -> Iterator[Cost]:
    """Fills seconds, peak_mib and device when the block ends."""
    cuda, cost = _cuda(), Cost()
    if cuda is not None:
        cuda.reset_peak_memory_stats()
    started = time.monotonic()
    yield cost
    cuda = cuda or _cuda()  # torch may have come in only now
    if cuda is not None and cuda.max_memory_allocated():
        cuda.synchronize()
        cost.device, cost.peak_mib = cuda.get_device_name(), cuda.max_memory_allocated() / 2**20
    else:
        cost.peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    cost.seconds = time.monotonic() - started


def _cuda():
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_available() else None


def write_cost(path: Path, cost: Cost) -> None:
    path.write_text(json.dumps(asdict(cost), indent=1) + "\n")


def write_costs(path: Path, units: Mapping[VideoKey, object]) -> None:
    """The table of SCHEMA for the units by (model label, pair id, seed); those without a cost have no row."""
    rows = []
    for (model, pair, seed), unit in units.items():
        if isinstance(unit, Commit) and COST in unit.files:
            with unit.open(COST) as file:
                rows.append({"model": model, "pair": pair, "seed": seed, **json.load(file)})
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), path)
