"""Pictures of clips for the report: each embedded once, however often it is shown, up to a budget of bytes."""

import base64
import io
from collections.abc import Callable
from pathlib import Path

LARGEST_PICTURE = 400_000
"""Bytes: a strip of a clip takes some 20,000."""
BUDGET = 12_000_000
"""Bytes of pictures in one report."""


class Pictures:
    """Gives the name of a CSS class that shows a clip's strip. ``preview`` gives its file; it may not be there."""

    def __init__(self, preview: Callable[[str], Path | None], budget: int = BUDGET):
        self._preview, self._left = preview, budget
        self._names: dict[str, str | None] = {}
        self._rules: list[str] = []
        self.left_out = 0

    def show(self, clip: str) -> str | None:
        """The class, or None where there is no picture, or no room for another one."""
        if clip not in self._names:
            self._names[clip] = self._embed(clip)
        return self._names[clip]

    @property
    def style(self) -> str:
        """The CSS rules of all that is shown."""
        return "\n".join(self._rules)

    def _embed(self, clip: str) -> str | None:
        from PIL import Image, UnidentifiedImageError

        path = self._preview(clip)
        if path is None or not path.is_file():
            return None
        content = path.read_bytes()
        if len(content) > min(self._left, LARGEST_PICTURE):
            self.left_out += 1
            return None
        try:
            with Image.open(io.BytesIO(content), formats=["JPEG"]) as image:
                width, height = image.size
        except (UnidentifiedImageError, OSError):
            return None
        self._left -= len(content)
        name, data = f"strip-{len(self._rules)}", base64.b64encode(content).decode()
        picture = f"background-image:url(data:image/jpeg;base64,{data})"
        self._rules.append(f".{name}{{aspect-ratio:{width}/{height};{picture}}}")
        return name
