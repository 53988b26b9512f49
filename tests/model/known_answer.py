"""A stand-in for an estimator that knows the answer, and videos and pictures for it."""

import numpy as np
from PIL import Image

from model import video
from model.pose.tracks import PoseTrack

SIZE = (120, 80)
JOINTS = {0: (40, 20), 5: (52, 40), 6: (28, 40), 7: (56, 56), 8: (24, 56), 9: (56, 70), 10: (24, 70), 1: (42, 17)}
JOINTS |= {11: (48, 72), 12: (32, 72), 13: (48, 92), 14: (32, 92), 15: (48, 112), 16: (32, 112), 2: (38, 17)}
JOINTS |= {3: (44, 18), 4: (36, 18)}


class Stub:
    """Sees ``people`` persons; the first moves right by one pixel per unit of grey of the frame."""

    def __init__(self, people=1):
        self.people, self.detector_calls, self.about = people, 0, {"name": "stub"}

    def estimate(self, frames, people=1):
        shifts, scale = [], 1.0
        for frame in frames:
            self.detector_calls += 1
            scale = frame.shape[0] / SIZE[0]
            shifts.append(float(frame[0, 0, 0]))
        points = np.full((len(shifts), 133, 2), 5.0, np.float32)
        scores = np.zeros((len(shifts), 133), np.float32)
        for joint, place in JOINTS.items():
            points[:, joint], scores[:, joint] = place, 0.9
        points[..., 0] += np.array(shifts)[:, None] / 10
        return [PoseTrack((points * scale).astype(np.float32), scores)] * min(people, self.people)

    def count_people(self, frames):
        return np.full(len(frames), self.people)


def dance(path, frames=48, fps=24.0, size=SIZE):
    """A video whose top left pixel tells the frame's number."""
    images = np.full((frames, *size, 3), 90, np.uint8)
    images[:, :16, :16] = (4 * np.arange(frames))[:, None, None, None]
    return video.write(path, images, fps, crf=1)


def picture(path, size=(240, 160)):
    Image.fromarray(np.full((*size, 3), 40, np.uint8)).save(path)
    return path
