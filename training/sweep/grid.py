"""The runs that a sweep is asked for: a grid of overrides, or a list of them."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import yaml

from infra.config import separate
from infra.errors import UsageError


def expand(overrides: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """The overrides with one value, and all combinations of those with several; the last key varies fastest.

    Commas separate values outside of brackets and quotes. Raises UsageError for a key that comes twice.
    """
    fixed, varying, seen = [], [], set()
    for item in overrides:
        key, equals, text = item.partition("=")
        if not equals or not key:
            raise UsageError(f"Override {item!r} is not of the form key=value.", "For example: train.workers=2")
        if key in seen:
            raise UsageError(f"{key} is given twice.", "Give all of its values at once: KEY=V1,V2")
        seen.add(key)
        values = list(separate(text))
        if len(values) == 1:
            fixed.append(item)
        elif not all(values):
            raise UsageError(f"Override {item!r} has an empty value between commas.")
        else:
            varying.append([f"{key}={value}" for value in values])
    return fixed, [list(items) for items in itertools.product(*varying)] if varying else []


def read_list(path: Path) -> list[list[str]]:
    """The runs of a ``--list`` file, such as ``- [train.stages.0.lr=1e-4, seed=1]``. Raises UsageError."""
    try:
        runs = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None
    whole = isinstance(runs, list) and all(
        isinstance(run, list) and run and all(isinstance(item, str) and "=" in item for item in run) for run in runs
    )
    if not whole:
        raise UsageError(f"{path} is no list of lists of KEY=VALUE.", "For example: - [train.stages.0.lr=1e-4, seed=1]")
    for run in runs:
        keys = [item.partition("=")[0] for item in run]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise UsageError(f"{path}: {twice[0]} is given twice in one run.")
    return runs
