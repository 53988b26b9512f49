"""Is the person still the one of the reference, and how does that change over the video?

By the features of the face and, as metrics of their own, by those of the whole person: the two are never mixed.
Similarities are (T,) cosines, nan where a frame shows no face or no person.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from evaluation.metrics.evidence import Evidence, NotComputable
from evaluation.metrics.metric import Measured, Metric, Need
from evaluation.metrics.person import boxes

EDGE_SECONDS = 0.5
COVERAGE = 0.5
PERCENTILE = 5
_PERSON_OF = {
    "generated": ("generated", "person"),
    "reference": ("reference", "reference_pose"),
    "driving": ("driving_frames", "driver"),
}
"""Fields of the evidence: the pictures and the pose in them."""


def similarity(features: np.ndarray, to: np.ndarray) -> np.ndarray:
    """(T, D), (D,) -> (T,) cosines; nan for rows of nan or zeros."""
    rows, one = features.astype(np.float64), to.astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(one)
    return np.divide(rows @ one, lengths, out=np.full(len(rows), np.nan), where=lengths > 0)


def drift(similarities: np.ndarray, fps: float) -> float:
    """Mean of the first 0.5 s less that of the last. Raises NotComputable where they overlap or are not known."""
    edge = max(1, round(EDGE_SECONDS * fps))
    if len(similarities) < 2 * edge:
        seconds = len(similarities) / fps
        raise NotComputable(f"{seconds:.2f} s have no first and last {EDGE_SECONDS:g} s of their own")
    first, last = (part[np.isfinite(part)] for part in (similarities[:edge], similarities[-edge:]))
    if not len(first) or not len(last):
        raise NotComputable(f"the {'last' if len(first) else 'first'} {EDGE_SECONDS:g} s do not show it")
    return float(first.mean() - last.mean())


def slope(similarities: np.ndarray, fps: float) -> float:
    """Theil-Sen slope per second: the median over all pairs of frames. Raises NotComputable for less than two."""
    from scipy.stats import theilslopes

    at = np.flatnonzero(np.isfinite(similarities))
    if len(at) < 2:
        raise NotComputable("less than two frames show it")
    return float(theilslopes(similarities[at], at / fps).slope)


@dataclass(frozen=True)
class _Look:
    """What is compared: ``suffix`` names the pictures of it that the backbone is shown."""

    name: str
    of: str
    backbone: str
    suffix: str
    preprocessing: str
    needs: frozenset[Need]
    needs_of_generated: frozenset[Need]
    needs_of_driver: frozenset[Need]

    def features(self, evidence: Evidence, whose: str) -> np.ndarray:
        """(T, D), nan where there is none."""
        features = evidence.embedded(self.backbone, whose + self.suffix)
        if not self.suffix:
            return features
        pictures, pose = _PERSON_OF[whose]
        nobody = np.isnan(boxes(getattr(evidence, pose), getattr(evidence, pictures).shape[-3:-1])).any(axis=1)
        return np.where(nobody[:, None], np.nan, features)

    def generated(self, evidence: Evidence) -> np.ndarray:
        """Similarities (T,) to the reference."""
        reference = self.features(evidence, "reference")[0]
        if np.isnan(reference).any():
            raise NotComputable(f"the reference shows no {self.name}")
        if not self.shown(evidence).any():
            return np.full(len(evidence.generated), np.nan)
        return similarity(self.features(evidence, "generated"), reference)

    def shown(self, evidence: Evidence) -> np.ndarray:
        """(T,): 1 for each generated frame that shows it, else 0."""
        if self.suffix and not evidence.people:
            return np.zeros(len(evidence.generated))
        return (~np.isnan(self.features(evidence, "generated")).any(axis=1)).astype(float)

    def seen(self, evidence: Evidence) -> np.ndarray:
        """As :meth:`generated`. Raises NotComputable where less than half of the frames show it."""
        similarities = self.generated(evidence)
        if (share := np.isfinite(similarities).mean()) < COVERAGE:
            raise NotComputable(f"only {share:.0%} of the generated frames show a {self.name}")
        return similarities

    def driver(self, evidence: Evidence) -> np.ndarray:
        """Similarities (T,) of the driver's frames to the first of them that shows it."""
        features = self.features(evidence, "driving")
        shown = ~np.isnan(features).any(axis=1)
        if shown.mean() < COVERAGE:
            raise NotComputable(f"only {shown.mean():.0%} of the driver's frames show a {self.name}")
        return similarity(features, features[shown.argmax()])


def _metrics(look: _Look) -> tuple[Metric, ...]:
    """All that is said of one look."""

    def metric(
        name: str,
        compute: Callable[[np.ndarray, Evidence], float],
        definition: str,
        span: tuple[float, float],
        direction: str,
        unit: str = "",
        course: Callable[[Evidence], np.ndarray] = look.seen,
        needs: frozenset[Need] = look.needs,
        version: int = 1,
    ) -> Metric:
        def measure(evidence: Evidence) -> Measured:
            similarities = course(evidence)
            return Measured(compute(similarities, evidence), similarities)

        return Metric(
            name=f"identity_{look.name}_{name}",
            version=version,
            preprocessing=look.preprocessing,
            definition=definition,
            source="this project; VBench's subject consistency cannot see a person change slowly",
            range=span,
            unit=unit,
            direction=direction,
            compute=measure,
            needs=needs,
            backbones=frozenset({look.backbone}),
        )

    cosine = f"the cosine of identity_{look.name}_level"
    counted = "Frames that do not show it do not count; where more than half do not, there is no value."
    infinite = float("inf")
    return (
        metric(
            "level",
            lambda found, _: float(np.nanmean(found)),
            f"Mean cosine between {look.of} in a generated frame and in the reference. {counted}",
            (-1, 1),
            "higher",
        ),
        metric(
            "drift",
            lambda found, evidence: drift(found, evidence.fps),
            f"Mean of {cosine} over the first {EDGE_SECONDS:g} s less its mean over the last.",
            (-2, 2),
            "lower",
        ),
        metric(
            "slope",
            lambda found, evidence: slope(found, evidence.fps),
            f"Theil-Sen slope of {cosine}, which some bad frames do not move.",
            (-infinite, infinite),
            "higher",
            unit="1/s",
        ),
        metric(
            "p5",
            lambda found, _: float(np.nanpercentile(found, PERCENTILE)),
            f"The {PERCENTILE}th percentile of {cosine} over the frames: the worst moments.",
            (-1, 1),
            "higher",
        ),
        metric(
            "coverage",
            lambda shown, _: float(shown.mean()),
            f"Share of the generated frames that show {look.of}.",
            (0, 1),
            "higher",
            course=look.shown,
            needs=look.needs_of_generated,
            version=2,
        ),
        metric(
            "excess_drift",
            lambda found, evidence: drift(found, evidence.fps) - drift(look.driver(evidence), evidence.fps),
            f"identity_{look.name}_drift less the same of the driver's frames against the first of them that shows it, "
            "which cancels what turning away does to the features.",
            (-4, 4),
            "lower",
            needs=look.needs | look.needs_of_driver,
        ),
    )


FACE = _Look(
    name="face",
    of="the face (score at least 0.5, turned less than 45°)",
    backbone="faces",
    suffix="",
    preprocessing="sface-yunet0.5-yaw45",
    needs=frozenset({"reference"}),
    needs_of_generated=frozenset(),
    needs_of_driver=frozenset({"driving_frames"}),
)
PERSON = _Look(
    name="person",
    of="the whole person (cut out by the pose)",
    backbone="dino_vitb16_crop224",
    suffix="_person",
    preprocessing="dinovitb16-personbox1.4-256",
    needs=frozenset({"reference", "reference_pose", "pose"}),
    needs_of_generated=frozenset({"pose"}),
    needs_of_driver=frozenset({"driving_frames", "driving"}),
)
IDENTITY = _metrics(FACE) + _metrics(PERSON)
