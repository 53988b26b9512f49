"""The embedded estimator: MediaPipe 0.10.21, whose wheel holds its models (pose, face, hands; complexity 1; CPU)."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import cv2
import numpy as np

from infra.errors import SteadyDancerError
from infra.schema import Pose
from model.pose.frames import checked
from model.pose.mediapipe_graphs import detector, holistic, landmarker
from model.pose.mediapipe_landmarks import to_wholebody
from model.pose.people import (
    BODY,
    GREY,
    HIPS,
    SEEN,
    SHOULDERS,
    Locate,
    Search,
    around,
    find_people,
    region,
    search_in,
    torso,
)
from model.pose.tracking import RETURNED, difference, follow
from model.pose.tracks import JOINTS, PoseTrack

LANDMARKS = (("pose", 33), ("face", 468), ("left_hand", 21), ("right_hand", 21))

DARK = 64  # a frame whose brightest pixels are below is brightened: at a sixteenth of the light nobody is found in it
CROP = 1.5  # of the longer side of a person's box: the detector looks for somebody in there who fills the picture less


class MediaPipeEstimator:
    """One person through the clip by the holistic model; several by finding, hiding and searching again.

    Fresh graphs are built for every clip: MediaPipe remembers the frame before, and so nothing is carried over from one
    clip to the next. Raises SteadyDancerError where mediapipe is not installed.

    ``detector_calls`` counts frames, however often one is searched: those given to :meth:`count_people`, those that
    tracking has searched for everybody, and with one person the first one and those after a frame without a person.
    """

    def __init__(self, settings: Pose):
        try:
            import mediapipe
        except ImportError as error:
            raise SteadyDancerError(
                f"pose.estimator is mediapipe, and mediapipe cannot be imported ({error}).",
                fix="pip install 'steadydancer-train[embedded]', or set pose.estimator=dwpose with its two ONNX files.",
            ) from error
        self._every, self._chunk = settings.detect_every, settings.batch
        self.detector_calls = 0
        self.about: dict[str, Any] = {
            "name": "mediapipe",
            "mediapipe": mediapipe.__version__,
            "model_complexity": 1,
            "detect_every": settings.detect_every,
        }

    def estimate(self, frames: Iterable[np.ndarray], people: int = 1) -> list[PoseTrack]:
        """(H, W, 3) uint8 RGB frames, an array or a stream -> tracks of T frames, the most prominent person first.

        At most ``people``; [] where nobody is found. With ``people`` 1 it is the largest on the first frame that shows
        anybody, for as long as MediaPipe's holistic model follows them, and again where they come back; or who takes
        their place, if they fill more of the clip. With more, see :func:`model.pose.tracking.follow`.
        """
        return self._main_person(frames) if people == 1 else self._everybody(frames, people)

    def count_people(self, frames: Iterable[np.ndarray]) -> np.ndarray:
        """People in each of the (H, W, 3) uint8 RGB frames, as (T,) int, at most 6 (:mod:`model.pose.people`)."""
        with detector() as search, landmarker(whole=False) as body:
            counts = [len(find_people(_lit(frame), search, _located(body))) for frame in checked(frames)]
        self.detector_calls += len(counts)
        return np.array(counts)

    def _main_person(self, frames: Iterable[np.ndarray]) -> list[PoseTrack]:
        seen: list[_Seen] = []
        followed, length = None, 0
        with holistic() as process, detector() as search, landmarker(whole=False) as body:
            for index, frame in enumerate(checked(frames)):
                length, frame, size = index + 1, _lit(frame), frame.shape[:2]
                if followed is None:
                    self.detector_calls += 1
                    main = max(seen, key=lambda person: person.area, default=None)
                    frame = _alone(frame, find_people(frame, search, _located(body)), main)
                result = process(frame)
                pose = _pose(result, size)
                if result.pose_landmarks is None:
                    followed = None
                    continue
                if followed is None:
                    known = [person for person in seen if difference(person.poses[-1], pose) < RETURNED]
                    followed = max(known, key=lambda person: person.area) if known else _Seen()
                    seen += [] if known else [followed]
                followed.add(index, pose, size)
        return [max(seen, key=lambda person: person.area).track(length)] if seen else []

    def _everybody(self, frames: Iterable[np.ndarray], people: int) -> list[PoseTrack]:
        with detector() as search, landmarker(whole=False) as body, landmarker(whole=True) as whole:

            def detect(part: list[np.ndarray]) -> list[np.ndarray]:
                self.detector_calls += len(part)
                return [_boxes(find_people(frame, search, _located(body))) for frame in part]

            def locate(crops: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
                poses = []
                for frame, box in crops:
                    results = (whole(frame, marks) for marks in _candidates(frame, box, search))
                    found = next((each for each in results if each.pose_landmarks is not None), None)
                    poses.append(_pose(found, frame.shape[:2]))
                return np.stack([each for each, _ in poses]), np.stack([each for _, each in poses])

            lit = map(_lit, checked(frames))
            return follow(lit, detect, locate, detect_every=self._every, people=people, chunk=self._chunk)


class _Seen:
    """One person of those whom holistic followed, one after the other."""

    def __init__(self):
        self.frames: list[int] = []
        self.poses: list[tuple[np.ndarray, np.ndarray]] = []
        self.area = 0.0
        """px, summed over the frames"""

    def add(self, index: int, pose: tuple[np.ndarray, np.ndarray], size: tuple[int, int]) -> None:
        self.frames.append(index)
        self.poses.append(pose)
        points = np.clip(pose[0][pose[1] > 0], 0, size[::-1])
        self.area += float(np.ptp(points, axis=0).prod()) if len(points) else 0.0

    def track(self, length: int) -> PoseTrack:
        keypoints, scores = np.zeros((length, JOINTS, 2), np.float32), np.zeros((length, JOINTS), np.float32)
        keypoints[self.frames], scores[self.frames] = (np.stack(each) for each in zip(*self.poses, strict=True))
        return PoseTrack(keypoints, scores)


def _alone(frame: np.ndarray, people: list[np.ndarray], main: _Seen | None) -> np.ndarray:
    """The frame with all ``people`` (33, 3) hidden but one: who fits the ``main`` person so far, else the largest."""
    if len(people) < 2:
        return frame
    chosen = max(range(len(people)), key=lambda index: torso(people[index]))
    if main is not None:
        unit = np.array([frame.shape[1], frame.shape[0], 1.0])
        none = np.full((468, 2), np.nan), *np.full((2, 21, 2), np.nan)
        poses = [to_wholebody(person / unit, *none, frame.shape[:2]) for person in people]
        apart = [difference(main.poses[-1], pose) for pose in poses]
        chosen = int(np.argmin(apart)) if min(apart) < RETURNED else chosen
    hidden = np.zeros(frame.shape[:2], np.uint8)
    for index, person in enumerate(people):
        if index != chosen:
            hidden |= region(person, hidden.shape)
    hidden[region(people[chosen], hidden.shape) > 0] = 0
    return np.where(hidden[..., None] > 0, np.uint8(GREY), frame)


def _lit(frame: np.ndarray) -> np.ndarray:
    """A dark frame (H, W, 3) stretched so that its brightest pixels are white; any other as it is."""
    brightest = float(np.percentile(frame[::8, ::8], 99.5))
    return cv2.convertScaleAbs(frame, alpha=255 / max(brightest, 1)) if brightest < DARK else frame


def _located(body: Callable[[np.ndarray, np.ndarray], Any]) -> Locate:
    """``body`` as :func:`find_people` takes it."""

    def locate(image: np.ndarray, marks: np.ndarray) -> np.ndarray | None:
        found = body(image, marks).pose_landmarks
        if found is None:
            return None
        landmarks = np.array([(each.x, each.y, each.visibility) for each in found.landmark])
        return landmarks * (image.shape[1], image.shape[0], 1) if np.isfinite(landmarks).all() else None

    return locate


def _boxes(people: list[np.ndarray]) -> np.ndarray:
    """Landmarks (33, 3) -> (N, 5): left, top, right, bottom of what is seen, and mean visibility; the surest first."""
    rows = [
        (*seen.min(axis=0), *seen.max(axis=0), person[BODY, 2].mean())
        for person in people
        for seen in [person[person[:, 2] >= SEEN, :2]]
    ]
    return np.array(sorted(rows, key=lambda row: -row[4])).reshape(-1, 5)


def _candidates(frame: np.ndarray, box: np.ndarray, search: Search) -> Iterator[np.ndarray]:
    """Marks of the person whom ``box`` (4,) shows: of those whom the detector sees in a crop around it, and whose trunk
    lies in it, the one in the middle; then, as it knows people by their faces before all and mixes up those who stand
    close, of an upright person who fills the box."""
    centre, side = (box[:2] + box[2:4]) / 2, CROP * float((box[2:4] - box[:2]).max())
    seen = search_in(frame, around(centre, side, frame.shape), search)
    apart = [marks[[HIPS, SHOULDERS]].mean(axis=0) - centre for marks in seen]
    fitting = [index for index, each in enumerate(apart) if (np.abs(each) <= (box[2:4] - box[:2]) / 2).all()]
    if fitting:
        yield seen[min(fitting, key=lambda index: np.linalg.norm(apart[index]))]
    yield np.stack([centre, centre - (0, side / 2), centre])


def _pose(result: Any, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """What MediaPipe found of one person in a frame of ``size``: keypoints (133, 2) px, scores (133,); 0 of nobody."""
    if result is None or result.pose_landmarks is None:
        return np.zeros((JOINTS, 2), np.float32), np.zeros(JOINTS, np.float32)
    found = []
    for name, count in LANDMARKS:
        landmarks = getattr(result, f"{name}_landmarks")
        points = [(each.x, each.y, each.visibility) for each in landmarks.landmark] if landmarks else None
        found.append(np.full((count, 3), np.nan) if points is None else np.array(points))
    body, face, left, right = found
    return to_wholebody(body, face[:, :2], left[:, :2], right[:, :2], size)
