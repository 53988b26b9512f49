import subprocess
import sys
import time
from pathlib import Path

import psutil


def test_a_killed_render_leaves_no_process_and_no_corpus(tmp_path):
    command = [
        sys.executable,
        "steadydancer.py",
        "sample",
        str(tmp_path / "s"),
        "sample.dancers=4",
        "sample.faults=false",
    ]
    driver = subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.DEVNULL)
    workers = []
    deadline = time.monotonic() + 60
    while len(workers) < 2:
        assert time.monotonic() < deadline and driver.poll() is None
        children = psutil.Process(driver.pid).children(recursive=True)
        workers = [p for p in children if "spawn_main" in " ".join(p.cmdline())]
        time.sleep(0.1)
    driver.kill()
    driver.wait()
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert alive == []
    assert not (tmp_path / "s").exists()
