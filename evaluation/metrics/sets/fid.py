"""Fréchet inception distance, with pictures resized as signal processing asks."""

from evaluation.metrics.sets.frechet import frechet_distance
from evaluation.metrics.sets.set_metric import SetMetric, joined, of_driver

FID = SetMetric(
    name="fid",
    version=1,
    preprocessing="inception2015pool3-bicubic299",
    definition="Fréchet distance between the Gaussians fitted to Inception features (2048) of every generated frame "
    "and of the drivers' frames of the same moments; both are resized from their own size. Falls about as 1/n with the "
    "number of frames, and frames of a video are no independent samples: compare only values of the same n.",
    source='Heusel et al. 2017; Parmar et al. 2022 for the resizing (clean-fid, mode "clean")',
    range=(0, float("inf")),
    unit="",
    direction="lower",
    backbone="inception_fid",
    rows=of_driver("inception_fid"),
    distance=joined(frechet_distance),
    facts=frozenset({"n"}),
)
