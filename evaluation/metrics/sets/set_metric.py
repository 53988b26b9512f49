"""What a set metric is: one number for a model's videos together, which no mean over its videos gives."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from evaluation.metrics.evidence import Evidence, NotComputable
from evaluation.metrics.metric import NOT_COMPUTABLE, OK

Rows = tuple[np.ndarray, np.ndarray]
"""One video's features: those of what is real (k, d), those of what was generated (l, d)."""


@dataclass(frozen=True)
class SetScore:
    """``value`` is None unless ``status`` is "ok"; ``reason`` is None if it is.

    ``videos`` were measured, by ``n_real`` and ``n_generated`` rows of features. ``standard_error`` takes the videos as
    independent, and is None where the metric has none.
    """

    value: float | None
    standard_error: float | None
    status: Literal["ok", "not_computable"]
    reason: str | None
    videos: int
    n_real: int
    n_generated: int


@dataclass(frozen=True)
class SetMetric:
    """``rows`` takes one video's features from its evidence; ``distance`` compares the real with the generated ones.

    ``distance`` and ``standard_error`` get the rows video by video, in float64, and may raise NotComputable. Under
    ``minimum`` rows on either side there is no value. ``facts`` are what the value
    depends on beside the definition, see :meth:`identify`.
    """

    name: str
    version: int
    preprocessing: str
    definition: str
    source: str
    range: tuple[float, float]
    unit: str
    direction: Literal["higher", "lower"]
    backbone: str
    rows: Callable[[Evidence], Rows]
    distance: Callable[[Sequence[Rows]], float]
    standard_error: Callable[[Sequence[Rows]], float | None] | None = None
    minimum: int = 2
    facts: frozenset[Literal["n", "fps", "size"]] = frozenset()

    @property
    def definition_id(self) -> str:
        """``name@version/preprocessing``."""
        return f"{self.name}@{self.version}/{self.preprocessing}"

    def identify(self, score: SetScore, fps: Collection[float], sizes: Collection[tuple[int, int]]) -> str:
        """:attr:`definition_id` and its ``facts``; two values are comparable only under the same id.

        ``fps`` and ``sizes`` (height, width) are those of the generated videos.
        """
        known = {
            "n": f"n{score.n_real}x{score.n_generated}",
            "fps": _one({f"{rate:g}" for rate in fps}) + "fps",
            "size": _one({f"{height}x{width}" for height, width in sizes}),
        }
        return "-".join([self.definition_id, *(known[f] for f in sorted(self.facts))])

    def compute(self, videos: Sequence[Rows]) -> SetScore:
        """The value over videos, each given by its ``rows``, or why there is none.

        Raises ValueError for rows that are not (k, d) of one d, k at least 1.
        """
        shapes = {part.shape for rows in videos for part in rows}
        if any(len(shape) != 2 or not shape[0] for shape in shapes) or len({shape[1] for shape in shapes}) > 1:
            raise ValueError(f"{self.name}: features must be (rows, d) of one d, not {sorted(shapes)}")
        counts = [sum(len(rows[side]) for rows in videos) for side in (0, 1)]
        try:
            value, error = self._measure(videos, counts)
        except NotComputable as problem:
            return SetScore(None, None, NOT_COMPUTABLE, str(problem), len(videos), *counts)
        return SetScore(value, error, OK, None, len(videos), *counts)

    def _measure(self, videos: Sequence[Rows], counts: Sequence[int]) -> tuple[float, float | None]:
        if not videos:
            raise NotComputable("no video has features")
        if min(counts) < self.minimum:
            raise NotComputable(
                f"{counts[0]} real and {counts[1]} generated rows of features; {self.name} needs {self.minimum} of each"
            )
        videos = [(real.astype(np.float64), generated.astype(np.float64)) for real, generated in videos]
        if not all(np.isfinite(part).all() for rows in videos for part in rows):
            raise NotComputable(f"features of {self.backbone} that are no finite numbers")
        return self.distance(videos), None if self.standard_error is None else self.standard_error(videos)


def joined(distance: Callable[[np.ndarray, np.ndarray], float]) -> Callable[[Sequence[Rows]], float]:
    """For :attr:`SetMetric.distance`: of all real rows (n, d) and all generated ones (m, d), whoever's they are."""
    return lambda videos: distance(*(np.concatenate([rows[side] for rows in videos]) for side in (0, 1)))


def of_driver(backbone: str) -> Callable[[Evidence], Rows]:
    """Rows of every generated frame (or clip), and of the driver's own pictures of the same moments, as they are.

    For a pair of one source these are the ground truth. Raises NotComputable where there is no driver, no backbone, or
    no row in so short a video.
    """

    def rows(evidence: Evidence) -> Rows:
        if evidence.driving_frames is None:
            raise NotComputable("no driving video")
        if evidence.embedder is None:
            raise NotComputable(f"no backbone: {backbone}")
        real, generated = (evidence.embedded(backbone, subject) for subject in ("driving", "generated"))
        if not len(generated):
            raise NotComputable(f"{len(evidence.generated)} frames are too few for {backbone}")
        return real, generated

    return rows


def _one(values: set[str]) -> str:
    return values.pop() if len(values) == 1 else "mixed"
