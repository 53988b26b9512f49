import torch

from model.conditions import Conditions, assemble


def example(batch: int = 2, frames: int = 3) -> tuple[dict, Conditions]:
    g = torch.Generator().manual_seed(0)
    parts = {
        "image_latent_BCTHW": torch.randn(batch, 16, frames, 4, 6, generator=g),
        "pose_latent_BCTHW": torch.randn(batch, 16, frames, 4, 6, generator=g),
        "clip_image_BND": torch.randn(batch, 257, 8, generator=g),
        "clip_pose_BND": torch.randn(batch, 257, 8, generator=g),
        "text": [torch.randn(3 + n, 5, generator=g) for n in range(batch)],
    }
    return parts, assemble(**parts)


def test_layout_is_the_specified_one():
    parts, c = example()
    image, pose = parts["image_latent_BCTHW"], parts["pose_latent_BCTHW"]
    assert c.y_BCTHW.shape == (2, 20, 3, 4, 6)
    assert c.y_BCTHW[:, :4, 0].min() == 1
    assert not c.y_BCTHW[:, :4, 1:].any()
    assert torch.equal(c.y_BCTHW[:, 4:], image)
    assert torch.equal(c.ref_x_BCTHW[:, :16], image[:, :, :1])
    assert c.ref_x_BCTHW[:, 16:20].min() == 1
    assert torch.equal(c.ref_x_BCTHW[:, 20:], image[:, :, :1])
    assert torch.equal(c.ref_c_BCTHW, pose[:, :, :1])
    assert c.text_BLD.shape == (2, 512, 5)
    assert torch.equal(c.text_BLD[1, :4], parts["text"][1])
    assert not c.text_BLD[1, 4:].any()


def test_dropping_is_per_sample_and_touches_its_streams_only():
    _, c = example()
    dropped = torch.tensor([True, False])
    unposed, untold = c.without_pose(dropped), c.without_text(dropped)
    pose_streams = {"condition_BCTHW", "ref_c_BCTHW", "clip_c_used_B"}
    for name in Conditions._fields:
        before = getattr(c, name)
        for dropped_part, streams in ((unposed, pose_streams), (untold, {"text_BLD"})):
            after = getattr(dropped_part, name)
            assert torch.equal(after[1], before[1])
            assert not after[0].any() if name in streams else torch.equal(after[0], before[0])
    assert all(
        torch.equal(a, b) for a, b in zip(c.without_pose(torch.tensor([True, True])), c.without_pose(), strict=True)
    )


def test_negative_streams_replace_one_stream_each():
    parts, c = example()
    other = c.with_pose_latent(-parts["pose_latent_BCTHW"])
    assert [n for n in Conditions._fields if not torch.equal(getattr(other, n), getattr(c, n))] == ["condition_BCTHW"]
    worded = c.with_text([torch.ones(2, 5), torch.ones(600, 5)])
    assert [n for n in Conditions._fields if not torch.equal(getattr(worded, n), getattr(c, n))] == ["text_BLD"]
    assert worded.text_BLD.sum() == (2 + 512) * 5
