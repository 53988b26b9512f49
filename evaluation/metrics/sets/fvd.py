"""Fréchet video distance, in the two preprocessings that are in use."""

from evaluation.metrics.sets.frechet import frechet_distance
from evaluation.metrics.sets.set_metric import SetMetric, joined, of_driver

FEWEST_CLIPS = 256


def _fvd(name: str, preprocessing: str, backbone: str, source: str) -> SetMetric:
    return SetMetric(
        name=name,
        version=1,
        preprocessing=preprocessing,
        definition="Fréchet distance between the Gaussians fitted to I3D logits (400) of the generated videos' clips "
        "of 16 frames, one after the other, and of the drivers' at the same moments. With few clips it is mostly bias "
        f"(two sets of 10 of one distribution are farther apart than most models), hence none under {FEWEST_CLIPS}; "
        "the literature takes 2048. Looks at content far more than at motion.",
        source=source,
        range=(0, float("inf")),
        unit="",
        direction="lower",
        backbone=backbone,
        rows=of_driver(backbone),
        distance=joined(frechet_distance),
        minimum=FEWEST_CLIPS,
        facts=frozenset({"n", "fps", "size"}),
    )


FVD = _fvd(
    "fvd",
    "i3d400-clips16-short224crop",
    "i3d_logits",
    "Unterthiner et al. 2018; shorter side to 224 and the middle, as StyleGAN-V",
)
FVD_SQUASH = _fvd(
    "fvd_squash",
    "i3d400-clips16-squash224",
    "i3d_logits_squash",
    "Unterthiner et al. 2018; both sides squashed to 224, as cd-fvd, which takes another copy of the weights",
)
