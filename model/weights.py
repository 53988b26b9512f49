"""Finding weights by local path or hub id, and saying which weights they are."""

import hashlib
import re
from pathlib import Path

from infra.errors import SteadyDancerError

_HUB_ID = re.compile(r"^[\w.-]+/[\w.-]+$")


class WeightsNotFound(SteadyDancerError):
    """Weights that are neither a local folder nor to be had from the hub, or a folder that lacks its config."""


def locate(source: str | None, key: str, what: str, subfolder: str, others: tuple[str, ...] = ()) -> Path:
    """The local folder of a component: ``source`` itself or its ``subfolder``, whichever holds a config.json.

    ``source`` is a folder or a hub id ``owner/name``; of the latter only ``subfolder`` and ``others`` are downloaded.
    ``key`` is the config key that names it. Raises WeightsNotFound.
    """
    fix = f"Set {key} to a local folder or a hub id that holds {what}."
    if not source:
        raise WeightsNotFound(f"{key} is not set: {what} needs weights.", fix)
    root = Path(source).expanduser()
    if not root.exists() and _HUB_ID.match(source):
        root = _download(source, [f"{part}/*" for part in (subfolder, *others)], what, fix)
    for folder in (root / subfolder, root):
        if (folder / "config.json").is_file():
            return folder
    reason = "holds no config.json" if root.exists() else "does not exist"
    raise WeightsNotFound(f"{key}={source}: {reason}; {what} was expected.", fix)


def _download(source: str, patterns: list[str], what: str, fix: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        return Path(snapshot_download(source, allow_patterns=[*patterns, "config.json", "*.safetensors*"]))
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError) as error:
        raise WeightsNotFound(
            f"{what} cannot be had from the hub as {source} ({type(error).__name__}).", fix
        ) from error


def fingerprint(*folders: Path) -> str:
    """Which weights these are: 16 hex digits of a SHA-256 over names and contents of all files in the folders."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]
