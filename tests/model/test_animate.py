import numpy as np
import pytest
import torch

from infra import schema
from infra.errors import SteadyDancerError
from model.animate import animate
from model.checkpoint import build_model
from model.encoders import build_encoders
from model.inputs import encode_image, encode_pose, to_signed
from model.pose.drawing import draw_clip
from model.pose.tracks import PoseTrack

SIZE = (96, 64)


def figure(frames: int, lift: float = 0.0) -> PoseTrack:
    """Somebody standing in a 96x64 frame, raising both arms."""
    points = np.full((frames, 133, 2), (32.0, 40.0), np.float32)
    joints = {0: (32, 16), 5: (40, 28), 6: (24, 28), 7: (46, 40), 8: (18, 40), 9: (48, 50), 10: (16, 50)}
    joints |= {11: (37, 52), 12: (27, 52), 13: (38, 68), 14: (26, 68), 15: (38, 84), 16: (26, 84)}
    joints |= {1: (34, 14), 2: (30, 14), 3: (36, 15), 4: (28, 15)}
    for joint, place in joints.items():
        points[:, joint] = place
    points[:, [9, 10], 1] -= lift * np.linspace(0, 40, frames)[:, None]
    scores = np.zeros((frames, 133), np.float32)
    scores[:, list(joints)] = 0.9
    return PoseTrack(points, scores)


@pytest.fixture(scope="module")
def parts():
    encoders = build_encoders(schema.Encode(), schema.Model())
    picture = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    return build_model(schema.Model(), 0), encoders, picture


def run(parts, driving, seed=0, settings=None, **options):
    model, encoders, picture = parts
    settings = schema.Animate(steps=4, area=64 * 48, **settings or {})
    return animate(
        model, encoders, picture, driving, SIZE, "a dancer", settings, frames=9, fps=16.0, seed=seed, **options
    )


def test_frames_progress_and_determinism(parts):
    calls = []
    first = run(
        parts, figure(12, 1.0), reference_pose=figure(1), progress=lambda done, total: calls.append((done, total))
    )
    assert first.shape == (9, 64, 32, 3)
    assert first.dtype == np.uint8
    assert first.std() > 1
    assert calls == [(n, 9) for n in range(1, 10)]
    assert np.array_equal(first, run(parts, figure(12, 1.0), reference_pose=figure(1)))
    assert not np.array_equal(first, run(parts, figure(12, 1.0), seed=1, reference_pose=figure(1)))


def test_one_batch_per_step_without_a_cache_is_the_same_video(parts):
    plain = run(parts, figure(9, 1.0), already_aligned=True)
    ways = [{"cache": False}, {"passes": "batched"}, {"cache": False, "passes": "batched"}]
    for way in ways:
        other = run(parts, figure(9, 1.0), settings=way, already_aligned=True)
        assert np.abs(other.astype(int) - plain).max() <= 1


def test_driving_is_read(parts):
    """With kernels for the pose, which are zero before training."""
    model, encoders, picture = parts
    moved = build_model(schema.Model(), 0)
    with torch.no_grad():
        moved.patch_embedding_fuse.weight[:, 36:] = model.patch_embedding_fuse.weight[:, :32]
    other = moved, encoders, picture
    still, lifted = (run(other, figure(9, lift), already_aligned=True) for lift in (0.0, 1.0))
    assert not np.array_equal(still, lifted)
    # The same person at the same place: alignment has nothing to change.
    aligned = run(other, figure(9, 1.0), reference_pose=figure(1))
    difference = np.abs(aligned.astype(int) - run(other, figure(9, 1.0), already_aligned=True)).mean()
    assert difference < 0.5 * np.abs(aligned.astype(int) - still).mean()


def test_bad_drivings_are_refused(parts):
    with pytest.raises(SteadyDancerError, match=r"8 frames \(0\.5 s at 16 fps\), not 9\.\n.*clip\.frames=5"):
        run(parts, figure(8), already_aligned=True)
    with pytest.raises(SteadyDancerError, match="no pose"):
        run(parts, figure(9))


def test_references_are_the_first_latents(parts):
    _, encoders, picture = parts
    image, pose = encode_image(encoders, picture, 9, SIZE), encode_pose(encoders, figure(9, 1.0), SIZE, SIZE)
    assert image.latent_BCTHW.shape == pose.latent_BCTHW.shape == (1, 16, 3, 12, 8)
    assert image.clip_BND.shape == pose.clip_BND.shape == (1, 257, 48)
    assert not image.latent_BCTHW[:, :, 1:].any()
    alone = encoders.codec.encode(to_signed(picture)[None, :, None])
    torch.testing.assert_close(image.latent_BCTHW[:, :, :1], alone, atol=1e-5, rtol=0)


def test_pose_video_is_the_drawn_one(parts):
    _, encoders, _ = parts
    track = figure(5, 1.0)
    big = (2 * SIZE[0], 2 * SIZE[1])
    pose = encode_pose(encoders, track.resized(SIZE, big), big, SIZE)
    halved = to_signed(draw_clip(track, SIZE, big)).unfold(2, 2, 2).unfold(3, 2, 2).mean((-1, -2))
    expected = encoders.codec.encode(halved.transpose(0, 1)[None])
    assert (pose.latent_BCTHW - expected).square().mean() < 0.05 * expected.square().mean()
