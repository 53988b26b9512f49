"""A drawn person with known joints, whom MediaPipe takes for a real one."""

import cv2
import numpy as np

from model.pose import wholebody as wb

# A person who faces the camera, in eighths of their height from the middle of the top; their left is at positive x.
FIGURE = {
    wb.LEFT_SHOULDER: (0.95, 1.6),
    wb.RIGHT_SHOULDER: (-0.95, 1.6),
    wb.LEFT_HIP: (0.55, 4),
    wb.RIGHT_HIP: (-0.55, 4),
}
FIGURE |= {
    wb.LEFT_KNEE: (0.65, 5.8),
    wb.RIGHT_KNEE: (-0.65, 5.8),
    wb.LEFT_ANKLE: (0.7, 7.5),
    wb.RIGHT_ANKLE: (-0.7, 7.5),
}
FIGURE |= {wb.LEFT_ELBOW: (1.5, 2.8), wb.RIGHT_ELBOW: (-1.9, 2.4), wb.LEFT_WRIST: (1.4, 4), wb.RIGHT_WRIST: (-2.2, 1.1)}
SKIN, DARK = (214, 170, 140), (45, 35, 30)


def draw_person(frame, middle, top, height, shirt=(60, 90, 180)):
    """Draws FIGURE with clothes, hair and a face; returns its joints in px."""
    unit = height / 8
    at = {joint: np.array([middle + x * unit, top + y * unit]) for joint, (x, y) in FIGURE.items()}

    def limb(start, end, width, colour):
        cv2.line(frame, at[start].astype(int), at[end].astype(int), colour, round(width * unit), cv2.LINE_AA)

    def oval(x, y, half_width, half_height, colour):
        centre, axes = (
            (round(middle + x * unit), round(top + y * unit)),
            (round(half_width * unit), round(half_height * unit)),
        )
        cv2.ellipse(frame, centre, np.maximum(axes, 1).tolist(), 0, 0, 360, colour, -1, cv2.LINE_AA)

    for shoulder, elbow, wrist, hip, knee, ankle, side in ((5, 7, 9, 11, 13, 15, 1), (6, 8, 10, 12, 14, 16, -1)):
        limb(hip, knee, 0.75, DARK)
        limb(knee, ankle, 0.55, DARK)
        oval(side * 0.85, 7.8, 0.4, 0.22, (240, 240, 240))
        limb(shoulder, elbow, 0.5, shirt)
        limb(elbow, wrist, 0.38, SKIN)
        cv2.circle(frame, at[wrist].astype(int), round(0.28 * unit), SKIN, -1, cv2.LINE_AA)
    trunk = np.array([at[wb.LEFT_SHOULDER], at[wb.RIGHT_SHOULDER], at[wb.RIGHT_HIP], at[wb.LEFT_HIP]]).astype(int)
    cv2.fillConvexPoly(frame, trunk, shirt, cv2.LINE_AA)
    limb(wb.LEFT_SHOULDER, wb.RIGHT_SHOULDER, 0.6, shirt)
    limb(wb.LEFT_HIP, wb.RIGHT_HIP, 0.6, DARK)
    oval(0, 1.0, 0.22, 0.4, SKIN)
    oval(0, 0.43, 0.56, 0.68, DARK)
    oval(0, 0.63, 0.45, 0.6, SKIN)
    for x in (-0.18, 0.18):
        oval(x, 0.55, 0.1, 0.055, (255, 255, 255))
        oval(x, 0.55, 0.045, 0.05, DARK)
        oval(x, 0.41, 0.12, 0.03, DARK)
    oval(0, 0.75, 0.06, 0.07, (190, 140, 110))
    oval(0, 0.95, 0.15, 0.045, (170, 70, 70))
    return at
