"""Shards: plain tar files that webdataset reads, whose bytes depend on nothing but their content."""

import hashlib
import io
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from infra import storage
from infra.errors import CorruptArtifact

Members = list[tuple[str, bytes]]
"""Suffix and content of each file of a sample, in their order in the shard."""


@dataclass(frozen=True)
class Place:
    """Where a sample lies: ``bytes`` from ``offset`` on in ``shard`` hold all its members and are a tar of their own.

    ``members`` maps a member's suffix to (offset, bytes) of its content alone.
    """

    shard: str
    offset: int
    bytes: int
    members: dict[str, tuple[int, int]]


def write(folder: Path, samples: Iterable[tuple[str, Members]], max_samples: int, max_mb: float) -> dict[str, Place]:
    """Writes samples (name, [(suffix, content), ...]) one by one in the order given; where each of them lies.

    A shard holds at most ``max_samples`` and, unless a single sample is larger, ``max_mb`` megabytes. Shards are
    numbered from 0 without gaps. A member's name is ``name.suffix``; names hold no dot.
    """
    folder.mkdir(parents=True, exist_ok=True)
    number, count, shard = -1, 0, None
    where: dict[str, Place] = {}
    try:
        for name, members in samples:
            size = sum(tarfile.BLOCKSIZE + _padded(len(content)) for _, content in members)
            full = shard is not None and (count == max_samples or shard.offset + size > max_mb * 1e6)
            if shard is None or full:
                if shard is not None:
                    shard.close()
                number, count = number + 1, 0
                shard = tarfile.open(folder / f"shard-{number:06d}.tar", "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115
            offset, places = shard.offset, {}
            for suffix, content in members:
                info = tarfile.TarInfo(f"{name}.{suffix}")  # owner, time and mode stay at their fixed defaults
                info.size = len(content)
                places[suffix] = (shard.offset + tarfile.BLOCKSIZE, len(content))
                shard.addfile(info, io.BytesIO(content))
            count += 1
            where[name] = Place(f"shard-{number:06d}.tar", offset, shard.offset - offset, places)
    finally:
        if shard is not None:
            shard.close()
    return where


def read(folder: str | Path, shard: str, offset: int, size: int, sha256: str | None = None) -> dict[str, bytes]:
    """The members of one sample, suffix -> content, by one ranged read. ``folder`` may lie on an object store.

    Raises CorruptArtifact where the bytes are no sample, or not those of ``sha256``.
    """
    filesystem, root = storage.opened(str(folder))
    with storage.told(str(folder)):
        content = filesystem.cat_file(f"{root}/{shard}", start=offset, end=offset + size)
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise CorruptArtifact(
            f"{folder}/{shard}: the {size} bytes from {offset} on are not those that were written.", _REMAKE
        )
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as tar:
            return {info.name.split(".", 1)[1]: tar.extractfile(info).read() for info in tar}
    except (tarfile.TarError, IndexError) as error:
        raise CorruptArtifact(f"{folder}/{shard}: no sample lies at {offset} ({error}).", _REMAKE) from None


_REMAKE = "Put the shard back, or make the dataset again."


def _padded(size: int) -> int:
    return -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
