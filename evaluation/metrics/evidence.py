"""One generated video and what it can be held against: everything a metric may look at.

Shapes: T generated frames of H x W pixels, F frames of the driver, h w its pixels.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, Protocol

import numpy as np

from evaluation.time_map import by_time
from model.pose.tracks import PoseTrack

Subject = Literal[
    "generated", "reference", "driving", "truth", "generated_person", "reference_person", "driving_person"
]
"""Pictures that a backbone can be shown, see :meth:`Evidence.pictures`."""


SAME_ASPECT = 0.02
SIDE_STEP = 16  # pixels


class NotComputable(Exception):
    """Raised where a metric's definition gives no value for this video; the message is the reason."""


def same_aspect(size: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether pictures of ``other`` (height, width) can be resized to ``size`` and show the same at the same place.

    To 2 %, or what cutting a side of ``size`` to a multiple of 16 makes of it: the model's sizes are such multiples,
    to which its pictures are squashed.
    """
    zooms = size[0] / other[0], size[1] / other[1]
    return max(zooms) <= (1 + max(SAME_ASPECT, SIDE_STEP / min(size))) * min(zooms)


def require_same_aspect(pictures: np.ndarray, others: np.ndarray, name: str) -> None:
    """Raises NotComputable where the videos or pictures (..., H, W, 3) differ in aspect; ``name``: of the others."""
    (height, width), (from_height, from_width) = pictures.shape[-3:-1], others.shape[-3:-1]
    if not same_aspect((height, width), (from_height, from_width)):
        raise NotComputable(
            f"the video is {width}x{height}, {name} {from_width}x{from_height}: places do not correspond"
        )


class Estimator(Protocol):
    def estimate(self, frames: np.ndarray) -> list[PoseTrack]: ...


Embedder = Callable[[str, np.ndarray, np.ndarray | None], np.ndarray]
"""(name of a backbone, pictures (N, H, W, 3) uint8 RGB, pictures to hold them against or None) -> (N, ...) float32.

Raises NotComputable where its weights are not there.
"""


@dataclass
class Evidence:
    """One generated video, decoded once, and what belongs to its pair. None: this pair has no such thing.

    Pictures are uint8 RGB, poses in pixels of the pictures they belong to.
    """

    generated: np.ndarray
    """(T, H, W, 3)"""
    fps: float
    reference: np.ndarray | None = None
    """(H, W, 3), as the model was given it"""
    reference_pose: PoseTrack | None = None
    """of one frame"""
    ceiling: np.ndarray | None = None
    """(H, W, 3): the reference after a round trip through the latent codec, the best that a model of it can give"""
    driving_frames: np.ndarray | None = None
    """(F, h, w, 3)"""
    driving: PoseTrack | None = None
    """F frames"""
    driving_fps: float | None = None
    control: PoseTrack | None = None
    """F frames: the driving pose as it was fed to the model, in pixels of the generated frames"""
    same_source: bool = False
    """Whether the reference is the driver's first frame, so that the driver's frames are the ground truth"""
    time_map: np.ndarray | None = None
    """(T,) int: the driver's frame of each generated one; None: by the time on screen, see :meth:`driver_frames`"""
    estimator: Estimator | None = None
    embedder: Embedder | None = None
    _embedded: dict[tuple[str, Subject, Subject | None], np.ndarray] = field(default_factory=dict, repr=False)

    def driver_frames(self, count: int) -> np.ndarray:
        """(T,) int: which of the driver's ``count`` frames belongs to each generated frame.

        Raises NotComputable where the generated video outlasts the driver.
        """
        if self.time_map is not None:
            index = np.asarray(self.time_map)
        else:
            index = by_time(len(self.generated), self.fps, self.driving_fps)
        if len(index) != len(self.generated):
            raise NotComputable(f"the time map has {len(index)} entries, the video {len(self.generated)} frames")
        if index.max() >= count:
            raise NotComputable(
                f"the generated video ({len(self.generated)} frames at {self.fps:g} fps) outlasts "
                f"its driver ({count} frames at {self.driving_fps:g} fps)"
            )
        return index

    @property
    def ground_truth(self) -> np.ndarray | None:
        return self.driving_frames if self.same_source else None

    @cached_property
    def truth(self) -> np.ndarray:
        """Ground truth at the moments and in the size of the generated frames, (T, H, W, 3) uint8.

        Raises NotComputable where it has another aspect.
        """
        from model.video import resize

        require_same_aspect(self.generated, self.ground_truth, "the ground truth")
        size = self.generated.shape[1:3]
        return np.stack([resize(self.ground_truth[i], size) for i in self.driver_frames(len(self.ground_truth))])

    @cached_property
    def driver(self) -> PoseTrack:
        """The driving pose at the moments of the generated frames, in pixels of the driver."""
        index = self.driver_frames(len(self.driving))
        return PoseTrack(self.driving.keypoints[index], self.driving.scores[index])

    @cached_property
    def people(self) -> list[PoseTrack]:
        """Everybody the estimator finds in the generated video, most prominent first."""
        return self.estimator.estimate(self.generated)

    @cached_property
    def person(self) -> PoseTrack:
        """The most prominent of them. Raises NotComputable where there is nobody."""
        if not self.people:
            raise NotComputable("nobody was found in the generated video")
        return self.people[0]

    def pictures(self, subject: Subject) -> np.ndarray:
        """(N, H, W, 3): the video's frames, the reference, the driver's frames of the same moments, the ground truth;
        ``_person``: cut to the person's box.
        """
        if subject == "generated":
            return self.generated
        if subject == "reference":
            return self.reference[None]
        if subject == "driving":
            return self.driving_frames[self.driver_frames(len(self.driving_frames))]
        if subject == "truth":
            return self.truth
        from evaluation.metrics.person import crops

        whose = subject.removesuffix("_person")
        pose = {"generated": "person", "reference": "reference_pose", "driving": "driver"}[whose]
        return crops(self.pictures(whose), getattr(self, pose))

    def embedded(self, backbone: str, subject: Subject, against: Subject | None = None) -> np.ndarray:
        """(N, ...) float32: what a backbone gives for pictures. Each is computed once, whoever asks."""
        key = backbone, subject, against
        if key not in self._embedded:
            others = None if against is None else self.pictures(against)
            self._embedded[key] = self.embedder(backbone, self.pictures(subject), others)
        return self._embedded[key]
