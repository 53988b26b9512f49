"""Perceptual hashes: what a picture looks like, in 64 bits that survive re-encoding and resizing."""

import cv2
import numpy as np

SIDE, KEPT = 32, 8
PER_SECOND = 4
"""Hashes are of the pictures at whole multiples of this part of a second of the source."""
FLAT = 2.0
"""Standard deviation of luma below which a picture shows nothing but noise."""


def picture_hash(luma: np.ndarray) -> int:
    """64 bits of an (H, W) uint8 picture (pHash, Zauner 2010): which of the 8 x 8 lowest frequencies of its cosine
    transform at 32 x 32 are above their median. Similar pictures differ in few bits, unrelated ones in about 32.
    Flat ones give 0.
    """
    if luma.std() < FLAT:
        return 0
    small = cv2.resize(luma, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = cv2.dct(small)[:KEPT, :KEPT].ravel()
    return int.from_bytes(np.packbits(low > np.median(low)).tobytes(), "big")


def fingerprint(hashes: list[int]) -> str:
    """16 hex digits each, in the order of time."""
    return "".join(f"{value:016x}" for value in hashes)
