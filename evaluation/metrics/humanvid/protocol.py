"""Which frames HumanVid's published evaluation compares: 24 of a video, and which one it draws of them."""

from collections.abc import Callable

import numpy as np

from evaluation.metrics.evidence import Evidence, NotComputable

FRAMES, STRIDE = 24, 3
SEED = 0


def images_stride(driver_frames: int) -> int:
    """From frame to frame of the ground truth, for SSIM, PSNR, LPIPS and FID."""
    return STRIDE if driver_frames > FRAMES * STRIDE else driver_frames // FRAMES


def video_stride(driver_frames: int) -> int:
    """The same for "FVD", which takes the frames of a shorter driver as they come."""
    return STRIDE if driver_frames > FRAMES * STRIDE else 1


def compared_frames(evidence: Evidence, stride: Callable[[int], int]) -> tuple[np.ndarray, np.ndarray]:
    """24 frames of the generated video (24, H, W, 3), and those of the ground truth (24, h, w, 3) in its own size.

    The published methods generate just these 24; of a longer video they are those of the same moments. Raises
    NotComputable for a ground truth of fewer than 24 frames, or a video that lacks one of the moments.
    """
    count = len(evidence.ground_truth)
    if count < FRAMES:
        raise NotComputable(f"the protocol compares {FRAMES} frames, the ground truth has {count}")
    wanted = np.arange(FRAMES) * stride(count)
    shown = evidence.driver_frames(count)
    places = [np.flatnonzero(shown == frame) for frame in wanted]
    for frame, found in zip(wanted, places, strict=True):
        if not len(found):
            raise NotComputable(f"no generated frame belongs to the ground truth's frame {frame}, one of the {FRAMES}")
    return evidence.generated[[found[0] for found in places]], evidence.ground_truth[wanted]


def drawn_frame(evidence: Evidence, seed: int = SEED) -> tuple[np.ndarray, np.ndarray]:
    """One of the 24 at random, and its ground truth resized to it by Pillow's bilinear filter: (H, W, 3) each.

    The published code ("sample-once") draws by NumPy's legacy generator and sets no seed; its processes start from one
    state, so that its ten videos by ten processes share a draw. Here all videos share that of ``seed``.
    """
    from PIL import Image

    generated, truth = compared_frames(evidence, images_stride)
    drawn = np.random.RandomState(seed).randint(0, FRAMES)
    height, width = generated.shape[1:3]
    resized = Image.fromarray(truth[drawn]).resize((width, height), Image.Resampling.BILINEAR)
    return generated[drawn], np.asarray(resized)
