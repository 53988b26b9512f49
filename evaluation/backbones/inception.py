"""The Inception-v3 of the Fréchet inception distance: features of pictures after its last pooling, (N, 2048)."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from evaluation.backbones.backbone import Backbone, Weights
from evaluation.backbones.batches import in_batches
from evaluation.backbones.checkpoints import frozen, read_tensors, refuse_another, seeded
from evaluation.backbones.inception_network import InceptionV3
from evaluation.backbones.pictures import pixels

SIZE = 299
WEIGHTS = Weights(
    "inception_fid",
    licence="Apache-2.0",
    source="https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth "
    "(the file of torch-fidelity, too)",
    sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
)


def load(files: Mapping[str, Path]) -> InceptionV3:
    """Raises SteadyDancerError for a file of another network."""
    path, network = files[WEIGHTS.key], InceptionV3()
    wanted, found = map(_without_counters, (network.state_dict(), read_tensors(path)))
    refuse_another(wanted, found, path, "the Inception-v3 of FID")
    network.load_state_dict(found, strict=False)
    return frozen(network)


def _without_counters(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of batches that were trained on: some versions of PyTorch write them, no evaluation reads them."""
    return {name: value for name, value in tensors.items() if not name.endswith("num_batches_tracked")}


def clean(pictures: np.ndarray) -> Tensor:
    """(N, H, W, 3) uint8 -> (N, 3, 299, 299): Pillow's antialiased bicubic filter on floats, channel by channel,
    neither rounded nor clipped, then (x - 128) / 128. As clean-fid's mode "clean".
    """
    planes = pictures.transpose(0, 3, 1, 2).reshape(-1, *pictures.shape[1:3]).astype(np.float32)
    small = [np.asarray(Image.fromarray(plane).resize((SIZE, SIZE), Image.Resampling.BICUBIC)) for plane in planes]
    return (torch.from_numpy(np.stack(small)).view(-1, 3, SIZE, SIZE) - 128) / 128


def humanvid(pictures: np.ndarray) -> Tensor:
    """(N, H, W, 3) uint8 -> (N, 3, 299, 299): Pillow's bilinear squash to 768 x 768 in uint8, then bilinear without
    antialiasing to 299, then 2 x / 255 - 1. As HumanVid's eval_fid.py.
    """
    squashed = [np.asarray(Image.fromarray(each).resize((768, 768), Image.Resampling.BILINEAR)) for each in pictures]
    small = F.interpolate(pixels(np.stack(squashed)), (SIZE, SIZE), mode="bilinear", align_corners=False)
    return 2 * small / 255 - 1


def _backbone(name: str, preprocessing: str, prepare: Callable[[np.ndarray], Tensor]) -> Backbone:
    return Backbone(
        name=name,
        version=1,
        preprocessing=preprocessing,
        network="inception_fid",
        weights=(WEIGHTS,),
        load=load,
        random=partial(seeded, InceptionV3),
        embed=lambda network, pictures, others: in_batches(network, prepare, pictures),
    )


INCEPTION_FID = _backbone("inception_fid", "pil-bicubic-f32-299", clean)
INCEPTION_FID_HUMANVID = _backbone("inception_fid_humanvid", "pil-bilinear-squash768-noaa299", humanvid)
