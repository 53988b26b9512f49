"""Local folders and object stores: the one place where they are opened, retried and complained about."""

import fcntl
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fsspec
from fsspec import AbstractFileSystem

from infra.errors import SteadyDancerError

ATTEMPT_FILE = ".uploading.json"
"""Names the files of an upload that has not ended: the next one may remove these, and nothing else."""

RETRIES = {"mode": "standard", "total_max_attempts": 6}
"""Of every single request to S3: errors 500 to 504, throttling, lost connections; waits grow to 20 s (botocore)."""

_OPTIONS = {
    "s3": {
        "use_listings_cache": False,  # others write there too
        "config_kwargs": {
            "retries": RETRIES,
            "connect_timeout": 10,
            "read_timeout": 60,
            "max_pool_connections": 32,
        },
    }
}


def is_local(uri: str | Path) -> bool:
    """Whether ``uri`` is a path of this machine."""
    return "://" not in str(uri) or str(uri).startswith("file://")


def opened(uri: str | Path) -> tuple[AbstractFileSystem, str]:
    """The filesystem on which ``uri`` lies, and its path there.

    Keys and endpoint of S3 come from the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL, ...).
    Raises SteadyDancerError for an unknown kind of address or one whose package is not installed.
    """
    uri = str(uri)
    with told(uri):
        protocol = fsspec.core.split_protocol(uri)[0]
        return fsspec.core.url_to_fs(uri, **_OPTIONS.get({"s3a": "s3"}.get(protocol, protocol), {}))


@contextmanager
def told(uri: str | Path) -> Iterator[None]:
    """Turns what an object store refuses into a SteadyDancerError. What is not there stays FileNotFoundError, unless it
    is the bucket. Errors of local files pass.
    """
    if is_local(uri):
        yield
        return
    try:
        yield
    except ImportError as error:
        raise SteadyDancerError(
            f"{uri} needs a package that is not installed: {error}.",
            "For s3:// pip install 'steadydancer-train[s3]'.",
        ) from None
    except FileNotFoundError as error:
        if "bucket does not exist" in str(error):
            raise SteadyDancerError(
                f"{uri}: this bucket does not exist.", "Create it, or correct the address."
            ) from None
        raise
    except PermissionError as error:
        raise SteadyDancerError(
            f"{uri}: access is refused ({error}).",
            "Check the credentials (AWS_ACCESS_KEY_ID, ...) and what they may do.",
        ) from None
    except SteadyDancerError:
        raise
    except _store_errors() as error:
        raise SteadyDancerError(
            f"{uri} cannot be used: {str(error) or type(error).__name__}.",
            "Check the address, the credentials (AWS_...) and AWS_ENDPOINT_URL; then run the same command again.",
        ) from error


def _store_errors() -> tuple[type[Exception], ...]:
    """What filesystems raise. botocore is there only once an S3 address was opened; its errors are no OSErrors."""
    botocore = sys.modules.get("botocore.exceptions")
    return (OSError, ValueError, *([botocore.BotoCoreError, botocore.ClientError] if botocore else []))


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Only one process of this machine at a time; ``file`` is created and stays."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def sizes(uri: str) -> dict[str, int]:
    """Bytes of every file under ``uri``, by path relative to it."""
    filesystem, root = opened(uri)
    with told(uri):
        found = filesystem.find(root, detail=True)
    return {name.removeprefix(root.rstrip("/")).lstrip("/"): facts["size"] for name, facts in found.items()}


def refuse_strangers(uri: str, last: str) -> set[str]:
    """The files under ``uri`` on an object store, all of them put there by :func:`upload`.

    Raises SteadyDancerError naming one that was not: nobody's videos are removed for an address written wrongly.
    """
    filesystem, root = opened(uri)
    there = set(sizes(uri))
    ours = {ATTEMPT_FILE, last}
    if ATTEMPT_FILE in there:
        with told(uri):
            ours |= set(json.loads(filesystem.cat_file(f"{root}/{ATTEMPT_FILE}")))
    if last in there:
        with told(uri):
            ours |= set(json.loads(filesystem.cat_file(f"{root}/{last}"))["files"])
    if strangers := there - ours:
        raise SteadyDancerError(
            f"{uri} holds {sorted(strangers)[0]!r} and {len(strangers) - 1} more files that no commit put there.",
            "Name an empty folder of the store.",
        )
    return there


def upload(folder: Path, uri: str, last: str) -> None:
    """The files of ``folder`` to an object store, ``last`` (JSON that lists ``files``) after all others.

    Until ``last`` is there, readers find nothing. Files of earlier uploads that this one lacks are removed.
    """
    filesystem, root = opened(uri)
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and p.name != last)
    there = refuse_strangers(uri, last)
    with told(uri):
        filesystem.pipe_file(f"{root}/{ATTEMPT_FILE}", json.dumps(sorted({*names, *there})).encode())
        for name in [last, *sorted(there - {*names, last, ATTEMPT_FILE})]:
            if name in there:
                filesystem.rm_file(f"{root}/{name}")
        for name in names:
            filesystem.put_file(os.fspath(folder / name), f"{root}/{name}")
        filesystem.put_file(os.fspath(folder / last), f"{root}/{last}")
        filesystem.rm_file(f"{root}/{ATTEMPT_FILE}")
        filesystem.invalidate_cache()
