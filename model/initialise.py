"""The base Wan I2V model, and SteadyDancer started from one."""

import torch
from diffusers import WanTransformer3DModel
from torch import Tensor

from model.conditions import Conditions
from model.transformer import BASE_CHANNELS, SteadyDancerTransformer

IMAGE_LATENT = slice(20, 36)
NOISY_LATENT = slice(0, 16)


def base_model(config: dict) -> WanTransformer3DModel:
    """Plain Wan I2V of a :func:`model.transformer.model_config`, with PyTorch's initial weights."""
    return WanTransformer3DModel(**config)


def random_base(config: dict, seed: int) -> WanTransformer3DModel:
    """A base that stands in for pretrained weights: random from ``seed``, but not deaf.

    Its noisy-latent kernel is orthonormal and its head the transpose, so that it starts by returning the noisy latent:
    the best linear guess of a velocity at high noise. A head of zeros, as Wan starts from, could not learn anything
    behind a frozen base.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        base = base_model(config)
        kernel = base.patch_embedding.weight
        # Head rows are ordered (patch height, patch width, channel), kernel columns (channel, patch height, width).
        noisy = kernel[:, NOISY_LATENT].permute(0, 2, 3, 4, 1)
        columns = torch.empty(len(kernel), noisy[0].numel())
        torch.nn.init.orthogonal_(columns)
        noisy.copy_(columns.view_as(noisy))
        base.proj_out.weight.copy_(columns.T)
        base.proj_out.bias.zero_()
    return base


def base_forward(
    base: WanTransformer3DModel, latent_BCTHW: Tensor, timestep_B: Tensor, conditions: Conditions
) -> Tensor:
    """Velocity of the base model: it reads image and text of ``conditions`` and knows no pose. fp32."""
    dtype = base.dtype
    (velocity,) = base(
        hidden_states=torch.cat([latent_BCTHW.to(dtype), conditions.y_BCTHW.to(dtype)], dim=1),
        timestep=timestep_B.float(),
        encoder_hidden_states=conditions.text_BLD.to(dtype),
        encoder_hidden_states_image=conditions.clip_x_BND.to(dtype),
        return_dict=False,
    )
    return velocity.float()


@torch.no_grad()
def init_from_base(model: SteadyDancerTransformer, base: WanTransformer3DModel) -> SteadyDancerTransformer:
    """Puts the base's weights into ``model`` and starts the new parts from them (specification 1.6).

    The 36-channel kernel goes into channels 0..35 of the fuse kernel, zeros into 36..67; the pose reference starts as
    the kernel of the image latent (zeros would put a zero vector into a layer norm, whose gradient there is 1000).
    Until it is trained the pose modules change nothing, and the video tokens are those of the base exactly; the
    velocity still differs from the base's by the attention to the two reference frames.
    """
    model.load_state_dict(base.state_dict(), strict=False)
    kernel, bias = base.patch_embedding.weight, base.patch_embedding.bias
    fuse, reference = model.patch_embedding_fuse, model.patch_embedding_ref_c
    fuse.weight.zero_()
    fuse.weight[:, :BASE_CHANNELS] = kernel
    reference.weight.copy_(kernel[:, IMAGE_LATENT])
    for part in (fuse, reference):
        part.bias.copy_(bias)
    return model
