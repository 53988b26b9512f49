"""Seams of a video of three windows: `python tests/benchmarks/seams.py [--videos N] [--model FOLDER]`.

A tiny model is trained for three to four minutes of CPU on made clips (a figure that goes round in a circle, its pose
in dots), to the point where it follows the pose and keeps the reference's colours. N videos of three windows are then
made by it: joint, chained, and naive, which is windows of their own in a row. Beside them: the clip as drawn, through
the codec.

- Seam: a step is the mean absolute difference of two frames, here of those between which one latent frame ends and the
  next begins: within a latent frame the embedded codec shows little of the movement. The largest step where a window
  begins or ends, by the median of all these steps; steps are means over the videos. Bound: 1.2 for joint and chained.
- Return of the reference: how much more like the reference picture (PSNR) the first frames of later windows are than
  those half a window further on, by the same of the drawn clip, where the figure goes steadily away from it.

FOLDER keeps the trained model for the next time. Exits 1 where a bound is missed, or where the naive seam is within
it: the measure would then prove nothing.
"""

import argparse
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track as progress
from rich.table import Table
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parents[2]))

from infra import schema
from model.animate import generate
from model.checkpoint import build_model, load_model, save_model
from model.conditions import Conditions, assemble
from model.encoders import Encoders, build_encoders
from model.inputs import Motion, encode_image, pose_latent, to_pixels, to_signed
from model.resolution import TIME
from model.transformer import SteadyDancerTransformer
from model.windows import Span, spans

BOUND = 1.2
SIZE, WINDOW, OVERLAP, WINDOWS = (64, 48), 21, 4, 3
FRAMES = WINDOW + (WINDOWS - 1) * (WINDOW - OVERLAP - 1)
OVERLAPPING = spans(FRAMES, WINDOW, OVERLAP + 1)
IN_A_ROW = [Span(n * WINDOW, (n + 1) * WINDOW) for n in range(WINDOWS)]
SAMPLING_STEPS = 8
CLIPS, BATCH, STEPS, LEARNING_RATE, POSE_DROPOUT = 256, 8, 900, 3e-3, 0.3
PROMPT = "a dancer"


def clip(rng: np.random.Generator, frames: int, speed: float) -> tuple[np.ndarray, np.ndarray]:
    """A figure on its way round and its pose, both (T, H, W, 3) uint8; ``speed`` in radians a frame."""
    light, dark = (rng.uniform(*span) + rng.uniform(-25, 25, 3) for span in ((110, 190), (20, 60)))
    angles = rng.uniform(0, 2 * np.pi) + rng.choice([-1, 1]) * speed * np.arange(frames)
    y, x = 36 + 12 * np.sin(angles), 24 + 10 * np.cos(angles)

    def disc(above: float, radius: float) -> np.ndarray:
        rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
        distance = np.hypot(rows - (y - above)[:, None, None], columns - x[:, None, None]) - radius
        return 1 / (1 + np.exp(1.5 * distance))[..., None]

    figure = np.maximum(disc(0, 10), disc(13, 6))
    pose = disc(0, 5) * (255, 0, 0) + disc(13, 4) * (0, 0, 255)
    return (light + figure * (dark - light)).clip(0, 255).astype(np.uint8), pose.clip(0, 255).astype(np.uint8)


def encoded(encoders: Encoders, video: np.ndarray, pose: np.ndarray) -> tuple[torch.Tensor, Conditions]:
    image, first_pose_BND = encode_image(encoders, video[0], len(video), SIZE), encoders.image(to_signed(pose[0])[None])
    latent, text = pose_latent(encoders, pose, SIZE), encoders.text([PROMPT])
    conditions = assemble(image.latent_BCTHW, latent, image.clip_BND, first_pose_BND, text)
    return encoders.codec.encode(to_signed(video).transpose(0, 1)[None]), conditions


def trained(encoders: Encoders, console: Console) -> SteadyDancerTransformer:
    """A tiny model after flow matching on made clips, all of it trained."""
    rng = np.random.default_rng(0)
    examples = [encoded(encoders, *clip(rng, WINDOW, rng.uniform(0.04, 0.25))) for _ in range(CLIPS)]
    latents = torch.cat([latent for latent, _ in examples])
    conditions = Conditions(*map(torch.cat, zip(*(each for _, each in examples), strict=True)))
    torch.manual_seed(0)
    model = build_model(schema.Model(), 0).train().requires_grad_(True)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, STEPS, pct_start=0.1)
    for _ in progress(range(STEPS), "Training", console=console, transient=True):
        chosen = torch.randint(CLIPS, (BATCH,))
        sigma = torch.rand(BATCH, 1, 1, 1, 1)
        clean, noise = latents[chosen], torch.randn_like(latents[chosen])
        told = Conditions(*(x[chosen] for x in conditions)).without_pose(torch.rand(BATCH) < POSE_DROPOUT)
        velocity = model((1 - sigma) * clean + sigma * noise, 1000 * sigma.flatten(), told)
        loss = F.mse_loss(velocity, noise - clean)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    console.print(f"loss of the last batch: {loss.item():.3f}")
    return model.eval().requires_grad_(False)


def videos(model: SteadyDancerTransformer, encoders: Encoders, seed: int) -> dict[str, np.ndarray]:
    """One clip, drawn and made in every way."""
    drawn, pose = clip(np.random.default_rng([1, seed]), IN_A_ROW[-1].stop + 2, 0.07)
    plain = {"steps": SAMPLING_STEPS, "area": SIZE[0] * SIZE[1], "text_guidance": 1.0, "pose_interval": (0.0, 0.0)}

    def made(frames: slice, windows: str = "joint") -> np.ndarray:
        settings = schema.Animate(**plain, windows=windows, overlap=OVERLAP)
        motion = Motion(pose[frames], pose[frames])
        return generate(model, encoders, drawn[0], motion, PROMPT, settings, seed=seed, window=WINDOW)

    return {
        "drawn": to_pixels(encoders.codec.decode(encoders.codec.encode(to_signed(drawn).transpose(0, 1)[None]))),
        "joint": made(slice(FRAMES)),
        "chained": made(slice(FRAMES), "chained"),
        "naive": np.concatenate([made(slice(*window)) for window in IN_A_ROW]),
    }


def seam(made_NTHWC: np.ndarray, windows: list[Span]) -> tuple[float, float]:
    """The largest step where a window begins or ends by the median step, and the latter; steps are means of videos."""
    borders = {t for before, after in pairwise(windows) for t in (before.stop - 1, after.start)}
    inside = {t for start, stop in windows for t in range(start + TIME, stop - 1, TIME)}
    steps = {t: np.abs(made_NTHWC[:, t + 1] - made_NTHWC[:, t]).mean() for t in borders | inside}
    usual = float(np.median(list(steps.values())))
    return max(steps[t] for t in borders) / usual, usual


def psnr(one_NTHWC: np.ndarray, other_NTHWC: np.ndarray) -> np.ndarray:
    """(T,) dB, mean over the videos."""
    error_NT = np.square(one_NTHWC - other_NTHWC).mean((2, 3, 4))
    return (10 * np.log10(255**2 / error_NT.clip(1))).mean(0)


def lead_of_starts(like_T: np.ndarray, windows: list[Span]) -> float:
    """By how much the first frames of later windows are more like the reference than those half a window later."""
    frames = [slice(start, start + TIME + 1) for start, _ in windows[1:]]
    later = [slice(part.start + WINDOW // 2, part.stop + WINDOW // 2) for part in frames]
    return max(like_T[part].max() - like_T[after].max() for part, after in zip(frames, later, strict=True))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=8)
    parser.add_argument("--model", type=Path, help="folder of the trained model; written where there is none")
    options = parser.parse_args()
    console = Console(stderr=True)
    encoders = build_encoders(schema.Encode(), schema.Model())
    if options.model is not None and options.model.exists():
        model = load_model(options.model)
    else:
        model = trained(encoders, console)
        if options.model is not None:
            save_model(model, options.model)

    seeds = progress(range(options.videos), "Generating", console=console, transient=True)
    each = [videos(model, encoders, seed) for seed in seeds]
    made = {way: np.stack([ways[way] for ways in each]).astype(np.float32) for way in each[0]}
    drawn = made["drawn"]
    table = Table(
        "",
        "seam",
        "median step",
        "return, dB",
        "PSNR to the drawn, dB",
        title=f"{options.videos} videos",
        title_justify="left",
    )
    seams = {}
    for way, videos_NTHWC in made.items():
        windows = IN_A_ROW if way == "naive" else OVERLAPPING
        length = videos_NTHWC.shape[1]
        like, of_drawn = (psnr(shown, drawn[:, :1]) for shown in (videos_NTHWC, drawn[:, :length]))
        returned = lead_of_starts(like, windows) - lead_of_starts(of_drawn, windows)
        seams[way], step = seam(videos_NTHWC, windows)
        match = "" if way == "drawn" else f"{psnr(videos_NTHWC, drawn[:, :length]).mean():.1f}"
        table.add_row(way, f"{seams[way]:.2f}", f"{step:.1f}", f"{returned:.1f}", match)
    Console().print(table)
    print(f"Seams of joint and chained: at most {BOUND}; of naive: more, or nothing is proved.")
    return 0 if max(seams["joint"], seams["chained"]) <= BOUND < seams["naive"] else 1


if __name__ == "__main__":
    sys.exit(main())
