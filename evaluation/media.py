"""Pictures and videos of a commit as text inside a page that fetches nothing."""

import base64
import tempfile
from pathlib import Path
from typing import Any

from infra.commits import Commit

LARGEST_BYTES = 3 * 2**20
"""Of a video; one that is larger is shown as a smaller preview."""
LARGEST_TOTAL = 192 * 2**20
"""Of all videos of a page. Where there are many, one that is larger than its share is shown as a preview."""
PREVIEW_SHORT_SIDE, PREVIEW_CRF = 320, 26
VOTED_SHORT_SIDE, VOTED_CRF = 480, 18
PLAYED = ("h264", "vp9", "av1")
"""Codecs that browsers play; any other is shown as a preview."""


class Media:
    """What a page embeds, as data URIs by key, and what its players are told of it.

    ``videos`` is how many share the page. With ``alike`` every video is encoded anew, the same way and without a word
    of metadata, so that neither its file nor its looks say where it comes from.
    """

    def __init__(self, videos: int, *, alike: bool = False):
        self.largest = min(LARGEST_BYTES, LARGEST_TOTAL // max(1, videos))
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
            self.uris[key] = _data_uri("image/png", content)
            return {"key": key}
        try:
            content, fps, frames = self._video(content)
        except UnreadableVideo:
            return {"reason": reason or f"{name} is not a readable video"}
        self.uris[key] = _data_uri("video/mp4", content)
        return {"key": key, "fps": fps, "frames": frames}

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
