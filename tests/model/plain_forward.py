"""The model's forward in plain code after the specification (1.2 to 1.5), by official tensor names, without a batch.

Shapes: C channels, T latent frames, H W latent height and width, h w token grid (H/2, W/2), L tokens, D width, N heads,
K channels of a head.
"""

import torch
from torch.nn import functional as F

DIM, HEADS, LAYERS, FREQ = 24, 2, 2, 8


def wan_forward(w: dict, given: dict, clip_x: torch.Tensor, clip_c: torch.Tensor) -> dict[str, torch.Tensor]:
    """Everything that a dit_case file has."""

    def linear(name: str, x: torch.Tensor) -> torch.Tensor:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(x: torch.Tensor, name: str | None = None, eps: float = 1e-6) -> torch.Tensor:
        out = (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, unbiased=False) + eps).sqrt()
        return out if name is None else out * w[f"{name}.weight"] + w[f"{name}.bias"]

    def rms(name: str, x: torch.Tensor) -> torch.Tensor:
        return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * w[f"{name}.weight"]

    def patches(name: str, x: torch.Tensor) -> torch.Tensor:
        """(C, T, H, W) to (1, D, T, h, w)."""
        c, t, h, wd = x.shape
        cells = x.reshape(c, t, h // 2, 2, wd // 2, 2).permute(1, 2, 4, 0, 3, 5).reshape(t, h // 2, wd // 2, c * 4)
        return (cells @ w[f"{name}.weight"].flatten(1).T + w[f"{name}.bias"]).permute(3, 0, 1, 2)[None]

    def split(x: torch.Tensor) -> torch.Tensor:
        return x.reshape(len(x), HEADS, -1).transpose(0, 1)

    def attend(q_NLK: torch.Tensor, k_NLK: torch.Tensor, v_NLK: torch.Tensor) -> torch.Tensor:
        scores = q_NLK @ k_NLK.transpose(1, 2) / q_NLK.shape[-1] ** 0.5
        return (scores.softmax(-1) @ v_NLK).transpose(0, 1).flatten(1)

    pose = given["condition"]
    temporal, spatial = tmcm(w, pose), ssae(w, pose.transpose(0, 1))
    fused = pose + temporal + spatial.transpose(0, 1)
    aligned = faau(w, fused, given["x"])
    out = {"cond_temporal": temporal[None], "cond_spatial_bt_chw": spatial, "cond_fused": fused[None]}
    out |= {"cond_aligned": aligned[None]}
    out["tok_fuse"] = patches("patch_embedding_fuse", torch.cat([given["x"], given["y"], fused, aligned]))
    out["tok_ref_x"] = patches("patch_embedding", given["ref_x"])
    out["tok_ref_c"] = patches("patch_embedding_ref_c", given["ref_c"][:16])
    grid = torch.cat([out["tok_fuse"], out["tok_ref_x"], out["tok_ref_c"]], dim=2)
    t, h, wd = grid.shape[2:]
    out["grid_sizes"], tokens = torch.tensor([[t, h, wd]]), grid[0].flatten(1).T

    angle = given["t"].double() * 10000 ** (-torch.arange(FREQ // 2).double() / (FREQ // 2))
    e = linear("time_embedding.0", torch.cat([angle.cos(), angle.sin()]).float())
    e = linear("time_embedding.2", F.silu(e))
    out["time_proj"] = linear("time_projection.1", F.silu(e))[None]
    text = F.pad(given["context"], (0, 0, 0, 512 - len(given["context"])))
    text = linear("text_embedding.2", F.gelu(linear("text_embedding.0", text), approximate="tanh"))

    def image(x: torch.Tensor) -> torch.Tensor:
        x = F.gelu(linear("img_emb.proj.1", norm(x, "img_emb.proj.0", 1e-5)))
        return norm(linear("img_emb.proj.3", x), "img_emb.proj.4", 1e-5)

    image = image(clip_x[0]) + image(clip_c[0])
    out["context_first_last"] = torch.cat([image, text])[[0, 1, 255, 256, 257, 258, 767, 768]][None]

    size = DIM // HEADS
    parts = (size - size // 6 * 4, size // 6 * 2, size // 6 * 2)
    places = torch.meshgrid(*(torch.arange(n).double() for n in (t, h, wd)), indexing="ij")
    angles = [
        p.flatten()[:, None] * 10000 ** (-torch.arange(0, n, 2).double() / n)
        for p, n in zip(places, parts, strict=True)
    ]
    turn = torch.polar(torch.ones(1).double(), torch.cat(angles, dim=1))

    def rotated(x_NLK: torch.Tensor) -> torch.Tensor:
        return (
            torch.view_as_real(torch.view_as_complex(x_NLK.double().unflatten(-1, (-1, 2))) * turn).flatten(2).float()
        )

    x = tokens
    out["block0_in"] = x[None]
    for n in range(LAYERS):
        s, c = f"blocks.{n}.self_attn", f"blocks.{n}.cross_attn"
        m = w[f"blocks.{n}.modulation"][0] + out["time_proj"].reshape(6, DIM)
        y = norm(x) * (1 + m[1]) + m[0]
        q, k = (rotated(split(rms(f"{s}.norm_{part}", linear(f"{s}.{part}", y)))) for part in "qk")
        x = x + linear(f"{s}.o", attend(q, k, split(linear(f"{s}.v", y)))) * m[2]
        q = split(rms(f"{c}.norm_q", linear(f"{c}.q", norm(x, f"blocks.{n}.norm3"))))
        k, v = split(rms(f"{c}.norm_k", linear(f"{c}.k", text))), split(linear(f"{c}.v", text))
        y = attend(q, k, v)
        k, v = split(rms(f"{c}.norm_k_img", linear(f"{c}.k_img", image))), split(linear(f"{c}.v_img", image))
        x = x + linear(f"{c}.o", y + attend(q, k, v))
        y = norm(x) * (1 + m[4]) + m[3]
        x = x + linear(f"blocks.{n}.ffn.2", F.gelu(linear(f"blocks.{n}.ffn.0", y), approximate="tanh")) * m[5]
        out[f"block{n}_out"] = x[None]
    m = w["head.modulation"][0] + e
    y = linear("head.head", norm(x) * (1 + m[1]) + m[0])
    out = {f"mid.{name}": value for name, value in out.items()} | {"mid.head_out": y[None]}
    video = y.reshape(t, h, wd, 2, 2, 16).permute(5, 0, 1, 3, 2, 4).reshape(16, t, 2 * h, 2 * wd)
    return out | {"out": video[:, :-2]}


def tmcm(w: dict, x_CTHW: torch.Tensor, name: str = "condition_embedding_temporal.") -> torch.Tensor:
    for stage in (0, 2, 4):
        spatial, temporal = w[f"{name}{stage}.spatial.weight"], w[f"{name}{stage}.temporal.weight"]
        x_CTHW = F.silu(F.conv2d(x_CTHW.transpose(0, 1), spatial[:, :, 0], padding=1, groups=16)).transpose(0, 1)
        padded = F.pad(x_CTHW, (0, 0, 0, 0, 1, 1))
        taps = (
            torch.einsum("oc,cthw->othw", temporal[:, :, i, 0, 0], padded[:, i:][:, : x_CTHW.shape[1]])
            for i in range(3)
        )
        x_CTHW = F.silu(sum(taps) + w[f"{name}{stage}.temporal.bias"][:, None, None, None])
    return x_CTHW


def ssae(w: dict, x_TCHW: torch.Tensor, name: str = "condition_embedding_spatial.") -> torch.Tensor:
    def pointwise(part: str, x: torch.Tensor) -> torch.Tensor:
        return torch.einsum("oc,tchw->tohw", w[f"{name}{part}.weight"].flatten(1), x)

    def instance(part: str, x: torch.Tensor) -> torch.Tensor:
        out = (x - x.mean((2, 3), keepdim=True)) / (x.var((2, 3), keepdim=True, unbiased=False) + 1e-5).sqrt()
        return out * w[f"{name}{part}.weight"][:, None, None] + w[f"{name}{part}.bias"][:, None, None]

    def gate(x: torch.Tensor) -> torch.Tensor:
        return (x + 3).clamp(0, 6) / 3

    g = x_TCHW.mean((2, 3)) @ w[f"{name}fc.0.weight"].T
    g = g * gate(g @ w[f"{name}fc.1.fc.0.weight"].T)
    phi = (g @ w[f"{name}fc_phi.weight"].T).reshape(-1, 4, 4)
    scale = gate(g @ w[f"{name}fc_scale.weight"].T)[:, :, None, None]
    q = instance("bn1", pointwise("conv_q", x_TCHW))
    q = instance("bn2", torch.einsum("tij,tjhw->tihw", phi, q)) + q
    return pointwise("conv_p", q) + scale * pointwise("conv", x_TCHW)


def faau(w: dict, pose: torch.Tensor, latent: torch.Tensor, name: str = "condition_embedding_align.") -> torch.Tensor:
    """(C, T, H, W) each. Every position attends over time (8 heads of 16 channels)."""

    def pointwise(part: str, x_THWC: torch.Tensor) -> torch.Tensor:
        return x_THWC @ w[f"{name}{part}.weight"].flatten(1).T + w[f"{name}{part}.bias"]

    def norm(part: str, x_THWC: torch.Tensor) -> torch.Tensor:
        out = (x_THWC - x_THWC.mean(-1, keepdim=True)) / (x_THWC.var(-1, keepdim=True, unbiased=False) + 1e-5).sqrt()
        return out * w[f"{name}{part}.weight"].flatten() + w[f"{name}{part}.bias"].flatten()

    p, r = (pointwise(part, x.movedim(0, -1)) for part, x in (("proj_p", pose), ("proj_r", latent)))
    weights, biases = (w[f"{name}cross_attn.in_proj_{leaf}"].chunk(3) for leaf in ("weight", "bias"))
    q, k, v = (
        (x @ weight.T + bias).unflatten(-1, (8, 16)) for x, weight, bias in zip((r, p, p), weights, biases, strict=True)
    )
    scores = torch.einsum("thwnk,shwnk->hwnts", q, k) / 4
    x = pointwise("cross_attn.out_proj", torch.einsum("hwnts,shwnk->thwnk", scores.softmax(-1), v).flatten(3))
    x = norm("norm1", x)
    x = norm("norm2", x + pointwise("ffn_pose.2", F.silu(pointwise("ffn_pose.0", x))))
    return pointwise("proj_p_back", x).movedim(-1, 0)
