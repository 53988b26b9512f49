"""Every backbone by the name that metrics use. A new one is a file beside this one and a line here."""

from evaluation.backbones.backbone import Backbone
from evaluation.backbones.clip import CLIP_VITB32, LAION_AESTHETIC
from evaluation.backbones.dino import DINO_VITB16_CROP224, DINO_VITB16_CROP224_PIL, DINO_VITB16_SHORT224
from evaluation.backbones.dreamsim import DREAMSIM, DREAMSIM_PIL
from evaluation.backbones.faces import FACES
from evaluation.backbones.frame_interpolation import AMT_S
from evaluation.backbones.i3d import I3D_LOGITS, I3D_LOGITS_PREFIXES, I3D_LOGITS_SQUASH
from evaluation.backbones.inception import INCEPTION_FID, INCEPTION_FID_HUMANVID
from evaluation.backbones.lpips import LPIPS_ALEX, LPIPS_VGG_01
from evaluation.backbones.musiq import MUSIQ_SPAQ

BACKBONES: dict[str, Backbone] = {
    backbone.name: backbone
    for backbone in (
        DINO_VITB16_SHORT224,
        DINO_VITB16_CROP224,
        DINO_VITB16_CROP224_PIL,
        CLIP_VITB32,
        LAION_AESTHETIC,
        MUSIQ_SPAQ,
        AMT_S,
        DREAMSIM,
        DREAMSIM_PIL,
        LPIPS_ALEX,
        LPIPS_VGG_01,
        INCEPTION_FID,
        INCEPTION_FID_HUMANVID,
        I3D_LOGITS,
        I3D_LOGITS_SQUASH,
        I3D_LOGITS_PREFIXES,
        FACES,
    )
}
