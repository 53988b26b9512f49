"""Near-duplicates: clips of different sources that show the same moments, whatever was done to size, bars and bitrate.

A clip's fingerprint is a sequence of 64-bit perceptual hashes of its pictures, taken at even moments of its source.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from infra.errors import SteadyDancerError
from pipelines.work.stage import Row

OVERLAP = 0.6
"""Share of the shorter clip's pictures that must show the same: what is cut off may be two fifths."""

AGREEMENT = 0.4
"""Least correlation in time of two clips' bits. Pictures of one room are alike in any two takes; only a copy also
changes as the other does. Measured at 4 pictures a second on rendered dancers: 24 of 25 copies lie above, no other
dancer does (their pictures differ by 20 bits and more), and of other moments of one dancer in one room 1 in 20; but
nearly all where a half figure sways in the same rhythm throughout."""

LEAST_DETAIL = 8
"""Half of a hash's bits are set wherever there is something to see. Fewer set, or fewer clear: a flat picture."""

ORDERS = 8
NEIGHBOURS = 64
NEAREST = 4
"""Pictures are sorted in so many orders, each is compared with so many that follow it, and so many of them that are
nearest to it are noted."""

NONE = np.int64(1) << 62

BLOCK = 1 << 16


def near_duplicates(rows: Sequence[Row], distance: float, tiers: Sequence[str] = ()) -> dict[str, str]:
    """clip_id -> clip_id of the best clip of its group, of all clips that are in one; the best stands for itself.

    Two clips are near-duplicates if at some alignment of their pictures, over at least OVERLAP of the shorter, the
    hashes differ by at most ``distance`` bits of 64 on the mean and their bits change together (AGREEMENT). Windows of
    one source are never compared: they are different moments by their spans. Best first (:func:`rank`), a clip joins
    the first kept clip it was found to be a near-duplicate of.

    Candidates come from sorting all pictures by eight shuffles of their bits: alike pictures are neighbours in some.
    The time is that of sorting. In a crowd of copies a round meets the nearest only; rounds end when none is left.
    Neither the order of ``rows`` nor chance plays a part. Raises SteadyDancerError for a malformed fingerprint.
    """
    rows = sorted((row for row in rows if row.get("fingerprint")), key=lambda row: rank(row, tiers))
    hashes = _hashes(rows)
    sources = np.unique([row["source_id"] for row in rows], return_inverse=True)[1]
    kept, joined = np.arange(len(rows)), {}
    while len(kept):
        found = _copies(hashes[kept], sources[kept], distance)
        if not len(found):
            break
        copies: dict[int, list[int]] = {}
        for first, second in kept[found].tolist():
            copies.setdefault(first, []).append(second)
        lost: set[int] = set()
        for best in sorted(copies):
            if best not in lost:
                new = [copy for copy in copies[best] if copy not in lost]
                joined |= dict.fromkeys(new, best)
                lost.update(new)
        kept = kept[~np.isin(kept, list(lost))]
    groups: dict[str, str] = {}
    for copy in joined:
        best = joined[copy]
        while best in joined:
            best = joined[best]
        groups[rows[copy]["clip_id"]] = groups[rows[best]["clip_id"]] = rows[best]["clip_id"]
    return groups


def rank(row: Row, tiers: Sequence[str] = ()) -> tuple[Any, ...]:
    """Sorts the better of two copies first: higher tier (``tiers`` names them from low to high), larger short side,
    more bits per pixel, surer pose; and last the clip id, so that there are no ties."""
    tier = tiers.index(row["tier"]) if row.get("tier") in tiers else -1
    values = (row.get(column) for column in ("short_side", "bits_per_pixel", "body_confidence"))
    return -tier, *(math.inf if value is None or math.isnan(value) else -value for value in values), row["clip_id"]


def _hashes(rows: Sequence[Row]) -> np.ndarray:
    """(clips, pictures) uint64; shorter clips end in zeros, which are flat pictures and count for nothing."""
    longest = max((len(row.get("fingerprint") or "") // 16 for row in rows), default=0)
    hashes = np.zeros((len(rows), longest), np.uint64)
    for line, row in zip(hashes, rows, strict=True):
        try:
            values = np.frombuffer(bytes.fromhex(row.get("fingerprint") or ""), ">u8")
        except ValueError:
            raise SteadyDancerError(
                f"Clip {row['clip_id']}: its fingerprint is not 16 hex digits a picture: {row['fingerprint'][:40]!r}.",
                "Curate it again.",
            ) from None
        line[: len(values)] = values
    return hashes


def _copies(hashes: np.ndarray, sources: np.ndarray, distance: float) -> np.ndarray:
    """(n, 2): pairs of near-duplicates, as indices with the smaller first, sorted."""
    first, second, shift = _candidates(hashes, sources, distance)
    same = np.zeros(len(first), bool)
    for value in np.unique(shift):
        at = np.flatnonzero(shift == value)
        for part in np.array_split(at, len(at) // 4096 + 1):
            same[part] = _same(hashes[first[part]], hashes[second[part]], int(value), distance)
    return np.unique(np.stack([first[same], second[same]], axis=1), axis=0)


def _candidates(hashes: np.ndarray, sources: np.ndarray, distance: float) -> tuple[np.ndarray, ...]:
    """Pairs of clips (first, second) and by how many pictures to shift them: where at least two pictures have their
    like, one of the nearest, in the other clip with that shift."""
    clip, picture = np.nonzero(_detailed(hashes))
    one, two = _alike(hashes[clip, picture], sources[clip], distance)
    swap = clip[one] > clip[two]
    one, two = np.where(swap, two, one), np.where(swap, one, two)
    clips, reach = len(hashes), hashes.shape[1]
    shift = picture[one] - picture[two] + reach
    alignments, votes = np.unique((clip[one] * clips + clip[two]) * 2 * reach + shift, return_counts=True)
    pairs, shift = np.divmod(alignments[votes >= 2], max(1, 2 * reach))
    return *np.divmod(pairs, max(1, clips)), shift - reach


def _alike(pictures: np.ndarray, sources: np.ndarray, distance: float) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of pictures, once each: every picture and the NEAREST ones that were met, of other sources."""
    nearest = np.full((len(pictures), NEAREST), NONE)
    shuffles = np.random.default_rng(0)
    for _ in range(ORDERS):
        order = np.argsort(_shuffled(pictures, shuffles.permutation(64)), kind="stable")
        for at in range(0, len(order), BLOCK):
            block = order[at : at + BLOCK + NEIGHBOURS]
            value, source = pictures[block], sources[block]
            for step in range(1, min(NEIGHBOURS + 1, len(block))):
                apart = _ones(value[step:] ^ value[:-step])
                near = np.flatnonzero((apart <= distance) & (source[step:] != source[:-step]))
                one, two, bits = block[near], block[near + step], apart[near].astype(np.int64) << 32
                _note(nearest, one, bits | two)
                _note(nearest, two, bits | one)
    one, place = np.nonzero(nearest < NONE)
    two = nearest[one, place] & 0xFFFFFFFF
    return np.divmod(np.unique(np.minimum(one, two) * len(pictures) + np.maximum(one, two)), max(1, len(pictures)))


def _note(nearest: np.ndarray, at: np.ndarray, met: np.ndarray) -> None:
    """Sorts ``met`` (distance << 32 | picture) into the lines ``at`` of ``nearest``, unless they hold it."""
    for place in range(NEAREST):
        held = nearest[at, place]
        nearest[at, place] = np.minimum(held, met)
        met = np.where(held == met, NONE, np.maximum(held, met))


def _same(left: np.ndarray, right: np.ndarray, shift: int, distance: float) -> np.ndarray:
    """Which lines of ``left`` and ``right`` (pairs, pictures) show the same: left picture t + ``shift``, right t."""
    shorter = np.minimum(_length(left), _length(right))
    one = left[:, max(0, shift) : left.shape[1] + min(0, shift)]
    two = right[:, max(0, -shift) : right.shape[1] - max(0, shift)]
    both = _detailed(one) & _detailed(two)
    count = both.sum(axis=1)
    apart = (_ones(one ^ two) * both).sum(axis=1)
    near = np.flatnonzero((count >= np.maximum(2, OVERLAP * shorter - 1e-9)) & (apart <= distance * count))
    same = np.zeros(len(left), bool)
    same[near] = _agreement(one[near], two[near], both[near]) >= AGREEMENT
    return same


def _length(hashes: np.ndarray) -> np.ndarray:
    """(clips,) pictures up to the last that is not flat."""
    return np.where(hashes != 0, np.arange(1, hashes.shape[1] + 1), 0).max(axis=1, initial=0)


def _agreement(one: np.ndarray, two: np.ndarray, both: np.ndarray) -> np.ndarray:
    """(pairs,) correlation of all bits about their means in time, over the pictures (pairs, T) in ``both``; where
    nothing changes 0: that shows no moment to be the same."""
    weight = both[..., None].astype(np.float32)

    def deviations(values: np.ndarray) -> np.ndarray:
        bits = np.unpackbits(np.ascontiguousarray(values).view(np.uint8).reshape(*values.shape, 8), axis=-1)
        return (bits - (bits * weight).sum(axis=1, keepdims=True) / weight.sum(axis=1, keepdims=True)) * weight

    one, two = deviations(one), deviations(two)
    power = np.sqrt((one**2).sum(axis=(1, 2)) * (two**2).sum(axis=(1, 2)))
    return (one * two).sum(axis=(1, 2)) / np.where(power > 0, power, np.inf)


def _detailed(hashes: np.ndarray) -> np.ndarray:
    ones = _ones(hashes)
    return (ones >= LEAST_DETAIL) & (ones <= 64 - LEAST_DETAIL)


def _shuffled(hashes: np.ndarray, order: np.ndarray) -> np.ndarray:
    out = np.zeros_like(hashes)
    for place, bit in enumerate(order):
        out |= ((hashes >> np.uint64(bit)) & np.uint64(1)) << np.uint64(place)
    return out


def _ones(values: np.ndarray) -> np.ndarray:
    """How many bits of each uint64 are set, added up in place by pairs, nibbles and bytes (numpy 1 has no function)."""
    u = np.uint64
    values = values - ((values >> u(1)) & u(0x5555555555555555))
    values = (values & u(0x3333333333333333)) + ((values >> u(2)) & u(0x3333333333333333))
    values = (values + (values >> u(4))) & u(0x0F0F0F0F0F0F0F0F)
    return ((values * u(0x0101010101010101)) >> u(56)).astype(np.int16)
