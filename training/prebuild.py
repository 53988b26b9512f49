"""DeepSpeed's compiled op, built once: ``python -m training.prebuild``.

Training on CPUs loads ``deepspeed_shm_comm``, which DeepSpeed would compile in the first worker that starts (a minute
of g++). It is built here into TORCH_EXTENSIONS_DIR and loaded from there by :func:`load`, without the compiler's lock
file, which a killed worker would leave behind for the next one to wait on for ever.
"""

import importlib.util
import json
import os
import shutil
import sys
from importlib.metadata import version
from pathlib import Path

from infra.environment import prepare
from infra.errors import SteadyDancerError

OP = "deepspeed_shm_comm"


def build() -> Path | None:
    """The compiled op, built now unless it is there for these versions of torch and DeepSpeed.

    None with a GPU, which needs none. Raises SteadyDancerError where the build fails.
    """
    prepare()
    if os.environ.get("DS_ACCELERATOR") != "cpu":
        return None
    root = Path(os.environ["TORCH_EXTENSIONS_DIR"])
    folder, stamp = root / OP, root / f"{OP}.json"
    built_for = {name: version(name) for name in ("torch", "deepspeed")} | {"python": sys.version}
    library = folder / f"{OP}.so"
    if library.is_file() and stamp.is_file() and json.loads(stamp.read_text()) == built_for:
        return library
    if shutil.which("g++") is None:
        raise SteadyDancerError(
            f"g++ is missing; DeepSpeed's {OP} has to be compiled once.", "Install it, for example: apt-get install g++"
        )
    shutil.rmtree(folder, ignore_errors=True)
    root.mkdir(parents=True, exist_ok=True)
    scripts = str(Path(sys.executable).parent)  # ninja comes as a package, beside this interpreter
    if scripts not in os.environ["PATH"].split(os.pathsep):
        os.environ["PATH"] = scripts + os.pathsep + os.environ["PATH"]
    from deepspeed.accelerator import get_accelerator

    try:
        get_accelerator().create_op_builder("ShareMemCommBuilder").load(verbose=False)
    except (RuntimeError, OSError) as error:
        raise SteadyDancerError(
            f"DeepSpeed's {OP} could not be compiled: {error}",
            "Check that g++ works and Python's headers are installed.",
        ) from error
    draft = stamp.with_suffix(".draft")
    draft.write_text(json.dumps(built_for))
    draft.rename(stamp)
    return library


def load(library: Path | None) -> None:
    """Hands DeepSpeed the compiled op, so that it does not look for a compiler."""
    if library is None:
        return
    from deepspeed.ops.op_builder.builder import OpBuilder

    spec = importlib.util.spec_from_file_location(OP, library)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    OpBuilder._loaded_ops[OP] = module


if __name__ == "__main__":
    print(build() or "nothing to build: this machine trains on GPUs")
