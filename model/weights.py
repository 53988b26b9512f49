"""Finding weights by local path or hub id, saying which weights they are, and refusing what is not safe to read."""

import hashlib
import json
import logging
import re
from pathlib import Path

from infra.errors import SteadyDancerError

log = logging.getLogger(__name__)

HUB_ID = re.compile(r"^\w[\w.-]*/\w[\w.-]*(@\w[\w./-]*)?$")
_READ = (".json", ".safetensors", ".model", ".txt")  # weights, configs, and the files of a tokenizer
_PICKLES = (".bin", ".pth", ".pt", ".ckpt")
LAYOUT = (
    "Expected is the diffusers layout, as in Wan-AI/Wan2.1-I2V-14B-480P-Diffusers: folders image_encoder/, "
    "text_encoder/, tokenizer/ and vae/, each with its config.json and *.safetensors. The .pth files of the original "
    "Wan release are pickles and are never opened."
)


class WeightsNotFound(SteadyDancerError):
    """Weights that are neither a local folder nor to be had from the hub, or a folder that holds something else."""


def locate(source: str | None, key: str, what: str, subfolder: str, others: tuple[str, ...] = ()) -> Path:
    """The local folder of a component: ``source`` itself or its ``subfolder``, whichever holds a config.json.

    ``source`` is a folder or a hub id ``owner/name``, which ``@REVISION`` pins; of the latter only ``subfolder`` and
    ``others`` are downloaded, or the files beside its config.json if it has no ``subfolder``. ``key`` is the config
    key that names it. Raises WeightsNotFound.
    """
    fix = f"Set {key} to a local folder or a hub id (owner/name@REVISION) that holds {what}."
    if not source:
        raise WeightsNotFound(f"{key} is not set: {what} needs weights.", fix)
    root = Path(source).expanduser()
    if not root.exists() and HUB_ID.match(source):
        root = _download(source, key, what, subfolder, others)
    for folder in (root / subfolder, root):
        if (folder / "config.json").is_file():
            return folder
    reason = "holds no config.json" if root.exists() else "does not exist"
    raise WeightsNotFound(f"{key}={source}: {reason}; {what} was expected.", f"{fix} {LAYOUT}")


def _download(source: str, key: str, what: str, subfolder: str, others: tuple[str, ...]) -> Path:
    from huggingface_hub import errors as hub
    from huggingface_hub import snapshot_download

    name, _, revision = source.partition("@")

    def fetch(folders: tuple[str, ...], ignored: str | None) -> Path:
        patterns = [f"{folder}*{ending}" for folder in folders for ending in _READ]
        return Path(
            snapshot_download(name, revision=revision or None, allow_patterns=patterns, ignore_patterns=ignored)
        )

    try:
        folder = fetch(tuple(f"{part}/" for part in (subfolder, *others)), None) if subfolder else None
        if folder is None or not (folder / subfolder / "config.json").is_file():
            folder = fetch(("",), "*/*")
    except hub.GatedRepoError as error:
        reason, cause = f"is gated: ask for access at https://huggingface.co/{name} and give a token (HF_TOKEN)", error
    except hub.RepositoryNotFoundError as error:
        reason, cause = "is no repository of the hub, or a private one, and no local folder", error
    except hub.RevisionNotFoundError as error:
        reason, cause = f"has no revision {revision}", error
    except (hub.LocalEntryNotFoundError, hub.OfflineModeIsEnabled) as error:
        reason, cause = "is no local folder, not in the hub's local cache, and the hub cannot be reached", error
    except (hub.HTTPError, OSError, ValueError) as error:
        reason, cause = f"cannot be had from the hub ({type(error).__name__}: {error})", error
    else:
        if folder.name != revision:
            log.info("%s=%s is revision %s; %s=%s@%s keeps it", key, source, folder.name, key, name, folder.name)
        return folder
    raise WeightsNotFound(
        f"{key}={source} {reason}; {what} was expected.", f"Set {key} to a local folder or to another hub id."
    ) from cause


def check(folder: Path, kinds: tuple[str, ...], what: str) -> None:
    """Raises WeightsNotFound unless ``folder`` holds a model of one of ``kinds`` in safetensors files of its own.

    A kind is config.json's ``_class_name`` (diffusers) or ``model_type`` (transformers). An index of shards may name
    files of the folder only.
    """
    try:
        config = json.loads((folder / "config.json").read_text())
        shards = set[str]()
        for index in folder.glob("*.safetensors.index.json"):
            shards.update(json.loads(index.read_text())["weight_map"].values())
        kind = config.get("_class_name") or config.get("model_type")
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise WeightsNotFound(f"{folder}: its config.json or index cannot be read ({error!r}).", LAYOUT) from error
    if kind not in kinds:
        raise WeightsNotFound(f"{folder} holds {kind or 'a model of no known kind'}, not {what}.", LAYOUT)
    if outside := [name for name in shards if Path(name).name != name or not (folder / name).is_file()]:
        raise WeightsNotFound(f"{folder} is not whole: its index names {min(outside)}, which is not in it.", LAYOUT)
    if not any(folder.glob("*.safetensors")):
        pickles = sorted(path.name for path in folder.iterdir() if path.suffix in _PICKLES)
        but = f" but {pickles[0]}, a pickle, which is never opened" if pickles else ""
        raise WeightsNotFound(f"{folder} has no .safetensors{but}; {what} was expected.", LAYOUT)


def check_complete(folder: Path, loading: dict, what: str) -> None:
    """Raises WeightsNotFound where ``loading``, a library's report, has tensors that it filled with random numbers."""
    mismatched = [key if isinstance(key, str) else key[0] for key in loading["mismatched_keys"]]
    if wrong := sorted([*loading["missing_keys"], *mismatched]):
        raise WeightsNotFound(
            f"{folder} lacks {len(wrong)} tensors of {what}, or has them in another shape: {', '.join(wrong[:5])}.",
            "Download it again, or give the folder of another model.",
        )


def fingerprint(*folders: Path) -> str:
    """Which weights these are: 16 hex digits of a SHA-256 over names and contents of all files in the folders.

    Hidden files, in which download tools keep dates, do not count.
    """
    digest = hashlib.sha256()
    for folder in folders:
        names = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
        for name in sorted(name for name in names if not any(part.startswith(".") for part in name.parts)):
            digest.update(name.as_posix().encode() + b"\0")
            with (folder / name).open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]
