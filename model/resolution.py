"""Sizes: what the model renders for a reference, and the latent grid of a clip."""

import math

from infra.errors import SteadyDancerError

SPACE, TIME = 8, 4
"""Pixels a side and frames that a latent position stands for."""
PATCH = 2
"""Latent positions a side of a token."""


def output_size(area: int, height: int, width: int) -> tuple[int, int]:
    """(h, w) in pixels, multiples of 16, at most ``area`` in all, with the aspect of a height x width source.

    Specification 3.2.3. The aspect is met to within 16 pixels a side; the picture is stretched by the rest.
    """
    if height <= 0 or width <= 0:
        raise SteadyDancerError(
            f"a picture of {width}x{height} pixels has no aspect.", "Give a picture that is not empty."
        )
    aspect = height / width
    cell = SPACE * PATCH
    h, w = (int(math.sqrt(side) // SPACE // PATCH) * cell for side in (area * aspect, area / aspect))
    if not h or not w:
        raise SteadyDancerError(
            f"a picture of {width}x{height} pixels leaves no room for {cell} pixels a side within an area of {area}.",
            "Use a larger area, or crop the picture to a less extreme aspect.",
        )
    return h, w


def latent_shape(frames: int, height: int, width: int) -> tuple[int, int, int]:
    """(T, H, W) of the latents of ``frames`` (4k+1) frames of height x width (multiples of 16) pixels."""
    if frames < 1 or frames % TIME != 1:
        raise SteadyDancerError(
            f"{frames} frames do not fit the latents.",
            f"Use 4k+1 frames, such as {max(frames - 1, 0) // TIME * TIME + 1}.",
        )
    if height % (SPACE * PATCH) or width % (SPACE * PATCH) or height <= 0 or width <= 0:
        raise SteadyDancerError(
            f"frames of {width}x{height} pixels do not fit the latents.", f"Use multiples of {SPACE * PATCH}."
        )
    return (frames - 1) // TIME + 1, height // SPACE, width // SPACE
