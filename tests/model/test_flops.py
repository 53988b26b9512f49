import re

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from model import flops
from model.conditions import assemble
from model.transformer import SteadyDancerTransformer, model_config

MODULES = {
    "SSAE": r"condition_embedding_spatial",
    "TMCM": r"condition_embedding_temporal",
    "FAAU": r"condition_embedding_align",
    "patch embeddings": r"patch_embedding\w*",
    "time embedder": r"condition_embedder\.time_\w+",
    "text embedder": r"condition_embedder\.text_embedder",
    "image embedder": r"condition_embedder\.image_embedder",
    "self-attention projections": r"blocks\.\d+\.attn1\.to_(q|k|v|out\.0)",
    "cross-attention queries, output": r"blocks\.\d+\.attn2\.to_(q|out\.0)",
    "cross-attention keys, values: text": r"blocks\.\d+\.attn2\.to_[kv]",
    "cross-attention keys, values: image": r"blocks\.\d+\.attn2\.add_[kv]_proj",
    "feed-forward": r"blocks\.\d+\.ffn",
    "head": r"proj_out",
}
CASES = {
    "tiny": ("tiny", {}, (3, 6, 4), 2),
    "one frame": ("tiny", {"num_layers": 3}, (1, 2, 2), 1),
    "small": ("small", {}, (5, 16, 8), 1),
    "two blocks of wan-14b": ("wan-14b", {"num_layers": 2}, (21, 128, 72), 1),
}


def built(size: str, changes: dict, latent_THW: tuple[int, int, int], batch: int):
    """A model and the inputs of its forward, on the meta device: counted without being computed."""
    config = model_config(size) | changes
    with torch.device("meta"):
        latent = torch.empty(batch, 16, *latent_THW)
        clip = torch.empty(batch, 257, config["image_dim"])
        text = [torch.empty(9, config["text_dim"])] * batch
        conditions = assemble(latent, latent, clip, clip, text)
        return config, SteadyDancerTransformer(**config).eval(), latent, torch.empty(batch), conditions


def counted(work) -> FlopCounterMode:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        work()
    return counter


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_every_part_is_as_torch_counts_it(case):
    config, model, *inputs = built(*case)
    counter = counted(lambda: model(*inputs))
    modules = {name.partition(".")[2]: sum(ops.values()) for name, ops in counter.get_flop_counts().items()}
    expected = flops.by_part(flops.forward(config, *case[2:]))
    for part, names in MODULES.items():
        assert sum(count for name, count in modules.items() if re.fullmatch(names, name)) == expected[part], part
    scores = sum(count for part, count in expected.items() if part.endswith("scores"))
    assert set(expected) == {*MODULES, "self-attention scores", "cross-attention scores"}
    assert counter.get_total_flops() - sum(expected[part] for part in MODULES) == scores


def test_each_stream_is_as_torch_counts_it():
    config, model, latent, timestep, conditions = built(*CASES["tiny"])
    streams = flops.by_stream(flops.forward(config, (3, 6, 4), batch=2))
    assert counted(lambda: model.read_pose(conditions.condition_BCTHW)).get_total_flops() == streams["pose"]
    assert counted(lambda: model.read_text(conditions.text_BLD)).get_total_flops() == streams["text"]
    references = counted(lambda: model.read_references(conditions.ref_x_BCTHW, conditions.ref_c_BCTHW))
    assert references.get_total_flops() == streams["references"]
    once = counted(lambda: model.prepare(conditions)).get_total_flops()
    assert once == sum(streams.values()) - streams[None]
    prepared = model.prepare(conditions)
    assert counted(lambda: model(latent, timestep, prepared)).get_total_flops() == streams[None]


def test_a_video_by_hand():
    config = model_config("tiny")
    once = flops.by_stream(flops.forward(config, (3, 6, 4)))
    video = flops.video(config, (3, 6, 4), 40, (0.1, 0.4))
    assert video.forwards == 91
    assert sum(video.uncached.values()) == 91 * sum(once.values())
    assert sum(video.cached.values()) == (
        91 * once[None] + 2 * once["text"] + 2 * once["pose"] + once["images"] + once["references"]
    )
    unguided = flops.video(config, (3, 6, 4), 40, (0.0, 0.0))
    assert unguided.forwards == 80
    assert unguided.cached["TMCM"] * 2 == video.cached["TMCM"]
    assert 0 < unguided.saved < video.saved < 1


def test_a_video_at_14b_is_nearly_all_attention():
    video = flops.video(model_config("wan-14b"), (21, 128, 72), 40, (0.1, 0.4))
    total = sum(video.uncached.values())
    assert 3.27e17 < total < 3.29e17
    assert video.uncached["self-attention scores"] > 0.6 * total
    assert 0.0005 < video.saved < 0.002


@pytest.mark.parametrize("latent_THW", [(0, 4, 4), (3, 5, 4), (3, 4, 0)])
def test_no_such_latent(latent_THW):
    with pytest.raises(ValueError, match="height and width even"):
        flops.forward(model_config("tiny"), latent_THW)
