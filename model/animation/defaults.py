"""Which config `steadydancer animate` takes where none is named."""

from pathlib import Path

from infra.commits import COMMIT_FILE
from infra.config import load, override
from infra.schema import Config
from infra.workspace import owning_config


def config_of(checkpoint: str, overrides: list[str]) -> Config:
    """That of the work folder in which ``checkpoint`` was committed; else the schema's, with the paper's sampling.

    Raises UsageError for overrides that are none, and SteadyDancerError for a work folder's config that is damaged.
    """
    folder = Path(checkpoint).expanduser().resolve()
    owned = owning_config(folder.parent) if (folder / COMMIT_FILE).is_file() else None
    # `train` has no defaults, and is not read here.
    return override(owned or {"train": load("paper").train.model_dump()}, overrides)
