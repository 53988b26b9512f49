"""Which files the backbones' weights are: named by the config, checked by their SHA-256."""

import hashlib
from functools import lru_cache
from pathlib import Path

from evaluation.backbones.backbone import Backbone
from evaluation.metrics.evidence import NotComputable
from infra.errors import SteadyDancerError
from infra.schema import Evaluate


class WeightFiles:
    """The files of ``evaluate.weights``: local paths, or ``owner/name/file@REVISION`` of the hub."""

    def __init__(self, config: Evaluate):
        self.named, self.pinned = config.weights, config.weights_sha256

    def of(self, backbone: Backbone) -> dict[str, Path]:
        """By key. Raises NotComputable where the config names none, SteadyDancerError where one is not what it is."""
        missing = [weights for weights in backbone.weights if weights.key not in self.named]
        if missing:
            wanted = "; ".join(f"evaluate.weights.{w.key} ({w.source}, licence {w.licence})" for w in missing)
            raise NotComputable(f"no weights for {backbone.network}: set {wanted}")
        files = {weights.key: _local(weights.key, self.named[weights.key]) for weights in backbone.weights}
        for weights in backbone.weights:
            wanted = self.pinned.get(weights.key, weights.sha256)
            if wanted and (found := sha256(files[weights.key])) != wanted:
                raise SteadyDancerError(
                    f"evaluate.weights.{weights.key}={self.named[weights.key]} has sha256 {found}, not {wanted}.",
                    f"Take the file of {weights.source}, or set evaluate.weights_sha256.{weights.key} to this one's.",
                )
        return files

    def id_of(self, backbone: Backbone) -> str:
        """What identifies features of this backbone: its own id and its files' hashes. Raises as :meth:`of`."""
        hashes = [sha256(path) for _, path in sorted(self.of(backbone).items())]
        return "-".join([backbone.id, *(value[:16] for value in hashes)])


def sha256(path: Path) -> str:
    """Of a file; read once while it stays as it is."""
    about = path.stat()
    return _sha256(path, about.st_size, about.st_mtime_ns)


def hashes_of(*sources: str | None) -> list[str]:
    """SHA-256 of the files that settings name, of a folder all of its; of what is no path, nothing."""
    paths = [Path(source).expanduser() for source in sources if source]
    files = [[path] if path.is_file() else sorted(path.rglob("*")) for path in paths]
    return [sha256(path) for each in files for path in each if path.is_file()]


@lru_cache(maxsize=64)
def _sha256(path: Path, size: int, changed_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _local(key: str, source: str) -> Path:
    path = Path(source).expanduser()
    if path.is_file():
        return path
    name, _, revision = source.partition("@")
    parts = name.split("/", 2)
    if len(parts) < 3 or path.is_absolute() or source.startswith("."):
        raise SteadyDancerError(
            f"evaluate.weights.{key}={source} is no file.", "Name a local file, or owner/name/file@REVISION of the hub."
        )
    if not revision:
        raise SteadyDancerError(
            f"evaluate.weights.{key}={source} names no revision: the file there may be another one tomorrow.",
            f"Name the commit that you mean: {source}@REVISION.",
        )
    import huggingface_hub

    owner, repository, file = parts
    try:
        return _of_hub(f"{owner}/{repository}", file, revision)
    except (huggingface_hub.errors.HfHubHTTPError, huggingface_hub.errors.LocalEntryNotFoundError, OSError) as error:
        raise SteadyDancerError(
            f"evaluate.weights.{key}={source} is no local file, and cannot be had from the hub: {error}",
            "Name a local file, or owner/name/file@REVISION of the hub.",
        ) from error


@lru_cache(maxsize=64)
def _of_hub(repository: str, file: str, revision: str) -> Path:
    """Asked for once, so that one run has one file even where the revision is a branch."""
    import huggingface_hub

    return Path(huggingface_hub.hf_hub_download(repository, file, revision=revision))
