"""Wall time and peak memory of a chain, by step: `python tests/benchmarks/chain_cost.py [steadydancer arguments]`.

Memory is the summed proportional set size of the command and everything it started (Ray, its workers, training
processes), sampled once a second; shared pages count once. Without arguments it runs `demo` in a temporary folder.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
COMMITS = ("sample", "dataset", "encoded", "stage1", "stage2", "stage3", "evaluation", "comparison")


def main(arguments: list[str]) -> int:
    with tempfile.TemporaryDirectory() as folder:
        if not arguments:
            arguments = ["demo", f"work={folder}/work"]
        work = Path(next(a.partition("=")[2] for a in arguments if a.startswith("work=")))
        started = time.monotonic()
        command = subprocess.Popen([sys.executable, "steadydancer.py", *arguments], cwd=ROOT)
        peak, peaks, ended = 0, {}, {}
        while command.poll() is None:
            now = _memory(command.pid)
            peak = max(peak, now)
            step = next((c for c in COMMITS if not (work / c / "COMMIT.json").exists()), "end")
            peaks[step] = max(peaks.get(step, 0), now)
            ended[step] = time.monotonic() - started
            time.sleep(1)
    begin = 0.0
    steps = {}
    for step, end in ended.items():
        steps[step] = {"seconds": round(end - begin, 1), "peak_gib": round(peaks[step] / 2**30, 2)}
        begin = end
    print(json.dumps({"seconds": round(ended[step], 1), "peak_gib": round(peak / 2**30, 2), "steps": steps}, indent=1))
    return command.returncode


def _memory(pid: int) -> int:
    total = 0
    for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        try:
            total += process.memory_full_info().pss
        except psutil.Error:  # it ended in the meantime
            continue
    return total


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
