"""Host memory of loading a checkpoint: `python tests/benchmarks/loading_memory.py [--shard-mb N]`. Linux only.

A random `small` SteadyDancer (about 100 M parameters) in fp32 is written under official names in several shards and
loaded in bf16 by a process of its own. Its peak of resident memory, mapped pages of the files among it, is read from
the kernel. Beside it, for comparison, a process that reads all shards before it casts.

Exits 1 if loading took more than 1.05 times the loaded model and the largest shard together.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).parents[2]))

from model.checkpoint import load_model
from model.official import save_official
from model.transformer import SteadyDancerTransformer, model_config

BOUND = 1.05
MIB = 2**20


def resident(key: str) -> int:
    """Bytes of VmRSS (now) or VmHWM (its peak) of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))


def all_at_once(folder: Path, dtype: torch.dtype) -> torch.nn.Module:
    state = {name: tensor for path in folder.glob("*.safetensors") for name, tensor in load_file(path).items()}
    return torch.nn.ParameterList(tensor.to(dtype) for tensor in state.values())


def load(folder: Path, how: str) -> None:
    """Prints bytes of the loaded model and of the growth of this process at its peak, as JSON."""
    read = {"load_model": load_model, "all shards, then cast": all_at_once}[how]
    read(folder / "tiny", torch.bfloat16)  # whatever is made once only, is made now
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    model = read(folder / "small", torch.bfloat16)
    tensors = [*model.parameters(), *model.buffers()]
    print(json.dumps([sum(tensor.nbytes for tensor in tensors), resident("VmHWM") - before]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shard-mb", type=int, default=60)
    parser.add_argument("--load", nargs=2, metavar=("FOLDER", "HOW"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.load:
        load(Path(options.load[0]), options.load[1])
        return 0
    table = Table("", "model", "growth", "of model and shard", title_justify="left")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for size in ("tiny", "small"):
            model = SteadyDancerTransformer(**model_config(size))
            save_official(model, folder / size, max_shard=options.shard_mb * 10**6)
        sizes = [path.stat().st_size for path in (folder / "small").glob("*.safetensors")]
        table.title = f"{sum(sizes) / MIB:.0f} MiB in {len(sizes)} shards, the largest {max(sizes) / MIB:.0f} MiB"
        ratios = []
        for how in ("load_model", "all shards, then cast"):
            command = [sys.executable, __file__, "--load", name, how]
            target, growth = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            ratios.append(growth / (target + max(sizes)))
            table.add_row(how, f"{target / MIB:.0f} MiB", f"{growth / MIB:.0f} MiB", f"{ratios[-1]:.2f}")
    Console().print(table)
    print(f"Growth by model and largest shard: {ratios[0]:.3f}, at most {BOUND}.")
    return int(ratios[0] > BOUND)


if __name__ == "__main__":
    sys.exit(main())
