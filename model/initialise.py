"""The base Wan I2V model, and SteadyDancer started from one.

What holds of the untrained model, up to the rounding of a sum:

- The pose latent changes nothing: its 32 channels meet zeros in the fuse kernel.
- The video's tokens are the base's, and so are their rotary positions, the timestep's modulation, the text, and,
  without the pose's CLIP embedding (:meth:`model.conditions.Conditions.without_pose`), the image context.
- The token of the image reference is the base's embedding of [image, ones, image]; that of the pose reference is the
  base's embedding of zeros beside the pose as image latent.
- So the velocity is the base's but for two paths: the video attends to the two reference frames, and the pose's CLIP
  embedding is added to the image's. With neither, it is the base's.

The first path cannot be closed by initial values: keys are RMS-normed, so that no token can be kept from being attended
to, and tokens are layer-normed, so that a small one weighs as much as a large one. A mask or a gate could, which the
released model does not have.

The zeros hide the pose modules from the first gradient: at step 0 channels 36..67 of the fuse kernel learn, and the
modules before them from step 1 on.
"""

import torch
from diffusers import WanTransformer3DModel
from torch import Tensor, nn

from model.conditions import Conditions
from model.transformer import BASE_CHANNELS, NEW_PARTS, SteadyDancerTransformer

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


def init_from_base(model: SteadyDancerTransformer, base: WanTransformer3DModel) -> SteadyDancerTransformer:
    """Puts the base's weights into ``model`` and starts the new patch embeddings from them. See the module's text."""
    model.load_state_dict(base.state_dict(), strict=False)
    return init_patch_embeddings(model)


@torch.no_grad()
def init_patch_embeddings(model: SteadyDancerTransformer) -> SteadyDancerTransformer:
    """Starts the two new patch embeddings of a model that holds the base's weights (specification 1.6).

    The 36-channel kernel goes into channels 0..35 of the fuse kernel, zeros into 36..67; the pose reference starts as
    the kernel of the image latent (zeros would put a zero vector into a layer norm, whose gradient there is 1000).
    """
    kernel, bias = model.patch_embedding.weight, model.patch_embedding.bias
    fuse, reference = model.patch_embedding_fuse, model.patch_embedding_ref_c
    fuse.weight.zero_()
    fuse.weight[:, :BASE_CHANNELS] = kernel
    reference.weight.copy_(kernel[:, IMAGE_LATENT])
    for part in (fuse, reference):
        part.bias.copy_(bias)
    return model


def new_parts(config: dict, seed: int) -> dict[str, nn.Module]:
    """The five added parts of a model of that config, with PyTorch's initial weights from ``seed``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = SteadyDancerTransformer(**config | {"num_layers": 0})
    return {name: getattr(model, name) for name in NEW_PARTS}
