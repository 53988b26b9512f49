"""Pictures and videos of a commit as text inside a page that fetches nothing."""

import base64
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from infra.commits import Commit

LARGEST_BYTES = 3 * 2**20
"""Of a video or picture; one that is larger is shown as a smaller preview."""
LARGEST_TOTAL = 192 * 2**20
"""Of all files of a page. Where there are many, one that is larger than its share is shown as a preview."""
PREVIEW_SHORT_SIDE, PREVIEW_CRF = 320, 26
VOTED_SHORT_SIDE, VOTED_CRF = 480, 18
PLAYED = ("h264", "vp9", "av1")
"""Codecs that browsers play; any other is shown as a preview."""


class Media:
    """What a page embeds, as data URIs by key, and what its players are told of it.

    ``files`` is how many share the page. With ``alike`` every video is encoded anew, the same way and without a word
    of metadata, so that neither its file nor its looks say where it comes from.
    """

    def __init__(self, files: int, *, alike: bool = False):
        self.largest = min(LARGEST_BYTES, LARGEST_TOTAL // max(1, files))
        self.alike = alike
        self.uris: dict[str, str] = {}

    def add(self, key: str, commit: Commit, name: str, reason: str | None = None) -> dict[str, Any]:
        """Key, fps and number of frames of a file of the commit; the reason where there is none, or it is no video."""
        from model.video import UnreadableVideo

        if name not in commit.files:
            return {"reason": reason or "not there"}
        with commit.open(name) as file:
            content = file.read()
        if name.endswith(".png"):
            if (uri := self._picture(content)) is None:
                return {"reason": reason or f"{name} is not a readable picture"}
            self.uris[key] = uri
            return {"key": key}
        try:
            content, fps, frames = self._video(content)
        except UnreadableVideo:
            return {"reason": reason or f"{name} is not a readable video"}
        self.uris[key] = _data_uri("video/mp4", content)
        return {"key": key, "fps": fps, "frames": frames}

    def _picture(self, content: bytes) -> str | None:
        """A small PNG as it is, else a JPEG preview; None where it cannot be read."""
        import cv2

        from model.video import resize

        if len(content) <= self.largest:
            return _data_uri("image/png", content)
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        if image is None:
            return None
        side = VOTED_SHORT_SIDE if self.alike else PREVIEW_SHORT_SIDE
        scale = min(1.0, side / min(image.shape[:2]))
        small = resize(image, tuple(max(1, round(side * scale)) for side in image.shape[:2]))
        _, encoded = cv2.imencode(".jpg", small)
        return _data_uri("image/jpeg", encoded.tobytes())

    def _video(self, content: bytes) -> tuple[bytes, float, int]:
        from model.video import frames, probe, resize, write

        with tempfile.TemporaryDirectory() as folder:
            video, encoded = Path(folder) / "video.mp4", Path(folder) / "encoded.mp4"
            video.write_bytes(content)
            info = probe(video)
            if self.alike or len(content) > self.largest or info.codec not in PLAYED:
                side, crf = (VOTED_SHORT_SIDE, VOTED_CRF) if self.alike else (PREVIEW_SHORT_SIDE, PREVIEW_CRF)
                scale = min(1.0, side / min(info.height, info.width))
                size = tuple(max(2, round(side * scale / 2) * 2) for side in (info.height, info.width))
                write(encoded, (resize(image, size) for _, image in frames(video)), info.fps, crf=crf)
                content = encoded.read_bytes()
            return content, info.fps, info.declared_frames or max(1, round(info.seconds * info.fps))


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
