"""Which code made an artifact."""

import shutil
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path


@cache
def code_version() -> str:
    """Package version, and of a git checkout also the commit and whether it was changed since."""
    package = metadata.version("steadydancer-train")
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return package
    if shutil.which("git") is None:
        return package
    described = subprocess.run(
        ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"],
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    return f"{package}+{described.stdout.strip()}" if described.returncode == 0 else package
