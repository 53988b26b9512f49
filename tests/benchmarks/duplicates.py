"""Time and memory of the search for near-duplicates: python tests/benchmarks/duplicates.py [CLIPS] [ROOMS].

Clips are walks of hashes: every picture differs from the one before by 8 bits, as a dancer's do. One clip in twenty is
a copy of another with 3 bits flipped in every picture and up to two pictures cut off. With ROOMS, clips of other
sources share one of so many backgrounds, 10 bits about which they move: the crowds that cost most.
"""

import resource
import sys

import numpy as np

from pipelines.duplicates import near_duplicates

PICTURES = 21


def flips(rng, shape, bits):
    """uint64 masks with about ``bits`` of 64 set."""
    masks = np.zeros(shape, np.uint64)
    for bit in rng.integers(0, 64, (bits, *shape)):
        masks |= np.uint64(1) << bit.astype(np.uint64)
    return masks


def clips(number, rooms):
    rng = np.random.default_rng(0)
    backgrounds = rng.integers(0, 2**64, rooms or number, np.uint64)
    hashes = backgrounds[np.arange(number) % len(backgrounds), None] ^ flips(rng, (number, PICTURES), 5)
    if not rooms:
        hashes = hashes[:, :1] ^ np.bitwise_xor.accumulate(flips(rng, (number, PICTURES), 8), axis=1)
    copies = np.arange(0, number, 20)
    hashes[copies] = np.roll(hashes[copies + 1], 1, axis=1) ^ flips(rng, (len(copies), PICTURES), 3)
    rows = [
        {"clip_id": f"{k:020x}", "source_id": str(k), "fingerprint": line.astype(">u8").tobytes().hex()}
        for k, line in enumerate(hashes)
    ]
    return rows, copies


if __name__ == "__main__":
    number, rooms = (int(value) for value in (*sys.argv[1:], *("100000", "0")[len(sys.argv) - 1 :]))
    rows, copies = clips(number, rooms)
    before = resource.getrusage(resource.RUSAGE_SELF)
    groups = near_duplicates(rows, 10)
    after = resource.getrusage(resource.RUSAGE_SELF)
    found = sum(groups.get(f"{k:020x}") in (f"{k:020x}", f"{k + 1:020x}") for k in copies)
    print(
        f"{number} clips: {after.ru_utime - before.ru_utime:.1f} s CPU, peak {after.ru_maxrss / 2**20:.2f} GiB "
        f"({before.ru_maxrss / 2**20:.2f} before), {found} of {len(copies)} copies found, {len(groups)} clips in groups"
    )
