"""What must become of each file of the sample corpus: the rows of ``labels.json``."""

from dataclasses import asdict, dataclass

CLIP_SECONDS = 81 / 16
"""What a video needs to hold one training clip: 81 frames at 16 frames a second."""

WHY = {
    "person_count": "Not exactly one person is in it.",
    "motion": "The dancer does not move.",
    "too_short": "No shot of it is as long as a training clip (81 frames at 16 fps, 5.0625 s).",
    "unreadable": "No frame of it can be decoded.",
    "damaged": "It starts well, and breaks while it is decoded.",
    "letterboxed": "Black bars above and below the picture.",
    "blurred": "The picture is out of focus.",
    "too_dark": "Hardly any light.",
    "shaky_camera": "The camera jumps from frame to frame.",
    "low_resolution": "Too few pixels.",
    "duplicate": "The same content as another file, encoded again.",
}


@dataclass(frozen=True)
class Label:
    """``verdict`` is keep or reject; ``reason`` is None for keep. ``people``, ``fps``, ``size`` (height, width) and
    ``seconds`` are of the upright video, None where it cannot be read. ``of`` names the original of a duplicate."""

    verdict: str
    reason: str | None
    why: str
    people: int | None = None
    fps: float | None = None
    size: tuple[int, int] | None = None
    seconds: float | None = None
    of: str | None = None

    def as_dict(self) -> dict:
        return asdict(self)


def label(reason: str | None, shot_seconds: float | None = None, why: str | None = None, **facts) -> Label:
    """The label of a file with one fault, or of a good one (``reason`` None; ``why`` then says what makes it worth
    having).

    What has no shot of a clip's length is too short, whatever else is in it: it is never looked at. ``shot_seconds`` is
    the longest shot, None for a file that cannot be decoded to its end.
    """
    if shot_seconds is not None and shot_seconds < CLIP_SECONDS:
        reason = "too_short"
    if reason is None:
        return Label("keep", None, why or "One dancer, well seen, moving.", **facts)
    return Label("reject", reason, WHY[reason], **facts)
