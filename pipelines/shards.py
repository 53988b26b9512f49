"""Shards: plain tar files that webdataset reads, whose bytes depend on nothing but their content."""

import io
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Place:
    """Where a sample lies: ``bytes`` from ``offset`` on in ``shard`` hold all its members and are a tar of their own.

    ``members`` maps a member's suffix to (offset, bytes) of its content alone.
    """

    shard: str
    offset: int
    bytes: int
    members: dict[str, tuple[int, int]]


def write(
    folder: Path, samples: Iterable[tuple[str, list[tuple[str, bytes]]]], max_samples: int, max_mb: float
) -> dict[str, Place]:
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


def read(folder: Path, shard: str, offset: int, size: int) -> dict[str, bytes]:
    """The members of one sample, suffix -> content, by one seek and one read."""
    with (folder / shard).open("rb") as file:
        file.seek(offset)
        part = io.BytesIO(file.read(size))
    with tarfile.open(fileobj=part, mode="r:") as tar:
        return {info.name.split(".", 1)[1]: tar.extractfile(info).read() for info in tar}


def _padded(size: int) -> int:
    return -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
