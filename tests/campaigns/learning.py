"""Whether the three stages learn, at toy scale on rendered dancers.

    python tests/campaigns/learning.py --seeds 0 1 2 --out tests/benchmarks/results/learning.json

A tiny Wan I2V is trained on dancers of its own; from it, for every seed, go the stages: 1, 2 in both forms
of distillation, 3 with and without Pose Simulation. Held-out dancers are then animated by their own poses. Questions:
does stage 1 follow the pose, does distillation collapse in one form and not in the other, does Pose Simulation lower
the jump after a start gap. Answers are paired differences over the held-out clips with their 95 % interval; the
measures stand in learning_scores.py, strips of frames in the work folder.
"""

import argparse
import json
import math
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from diffusers.models.transformers.transformer_wan import WanAttnProcessor
from learning_data import CAPTION, FPS, FRAMES, SIDE, Dance, dance, write_encoded
from learning_scores import following, generated, pixels, start_jump
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from infra import commits, config, environment
from infra.ray_session import session
from infra.schema import Config
from infra.workspace import Workspace
from model.checkpoint import build_base, build_model, load_model, save_model
from model.conditions import TEXT_TOKENS, Conditions, assemble
from model.encoders import build_encoders
from model.initialise import base_forward, random_base
from model.inputs import encode_image, encode_pose, to_signed
from model.transformer import model_config

HELD_OUT, SHOWN, OF_THE_BASE = 40, 240, 10_000
"""Held-out dances, dances of the stages, and from which number on those of the base are."""
BASE_STEPS, BASE_BATCH, BASE_LR = 1000, 8, 3e-3
GAPS = (2, 3, 4)
Scores = dict[str, dict[str, np.ndarray]]
"""What is compared -> measure -> a value of every held-out clip."""
SETTINGS = (
    f"clip.frames={FRAMES}",
    f"clip.fps={FPS}",
    f"clip.area={SIDE * SIDE}",
    "train.batch=8",
    "train.micro_batch=8",
    "train.workers=1",
    "train.zero=1",
    "train.recompute=none",
    "train.checkpoint_every=1000000",
    "train.preview_every=null",
    "train.stages.0.steps=600",
    "train.stages.0.lr=0.003",
    "train.stages.1.steps=150",
    "train.stages.1.lr=0.001",
    "train.stages.2.steps=100",
    "train.stages.2.lr=0.001",
    *(f"train.stages.{n}.{key}" for n in range(3) for key in ("timestep_shift=1.0", "schedule=cosine")),
)


def pretrained(folder: Path, settings: Config) -> Path:
    """The base of this toy world: a Wan I2V that knows dancers and no pose, trained by flow matching."""
    if (folder / "config.json").exists():
        return folder
    clips, generator = Held([dance(0, OF_THE_BASE + n) for n in range(SHOWN)], settings), torch.Generator()
    generator.manual_seed(0)
    text_BLD = clips.conditions.text_BLD[:, : OnePadding.tokens]
    clips.conditions = clips.conditions._replace(text_BLD=text_BLD)
    base = random_base(model_config(settings.model.size), 0).train()
    for block in base.blocks:
        block.attn2.set_processor(OnePadding())
    optimizer = torch.optim.AdamW(base.parameters(), lr=BASE_LR, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, BASE_LR, BASE_STEPS, pct_start=0.02)
    for _ in range(BASE_STEPS):
        rows = torch.randint(0, SHOWN, (BASE_BATCH,), generator=generator)
        stratum_B, within_B = (
            torch.randperm(BASE_BATCH, generator=generator),
            torch.rand(BASE_BATCH, generator=generator),
        )
        sigma_B = (stratum_B + within_B) / BASE_BATCH
        latent = clips.latent_BCTHW[rows]
        noise, level = torch.randn(latent.shape, generator=generator), sigma_B.view(-1, 1, 1, 1, 1)
        noisy, conditions = (1 - level) * latent + level * noise, Conditions(*(part[rows] for part in clips.conditions))
        loss = (base_forward(base, noisy, 1000 * sigma_B, conditions) - (noise - latent)).square().mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(base.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    return save_model(base, folder)


class OnePadding(WanAttnProcessor):
    """Cross-attention to a text cut after its first padding token, as if it were padded to 512, at half the cost.

    Equal tokens are one whose logit is larger by the log of their number.
    """

    tokens = 6

    def __call__(self, attn, hidden_states: Tensor, encoder_hidden_states: Tensor, *others, **named) -> Tensor:
        image, text = encoder_hidden_states[:, : -self.tokens], encoder_hidden_states[:, -self.tokens :]
        queries = _by_head(attn, attn.norm_q(attn.to_q(hidden_states)))
        bias = queries.new_zeros(1, 1, 1, self.tokens)
        bias[..., -1] = math.log(TEXT_TOKENS - self.tokens + 1)
        keys, values = attn.norm_k(attn.to_k(text)), attn.to_v(text)
        of_text = scaled_dot_product_attention(queries, _by_head(attn, keys), _by_head(attn, values), attn_mask=bias)
        keys, values = attn.norm_added_k(attn.add_k_proj(image)), attn.add_v_proj(image)
        of_image = scaled_dot_product_attention(queries, _by_head(attn, keys), _by_head(attn, values))
        return attn.to_out[0]((of_text + of_image).transpose(1, 2).flatten(2))


def _by_head(attn, tensor_BLD: Tensor) -> Tensor:
    return tensor_BLD.unflatten(2, (attn.heads, -1)).transpose(1, 2)


class Held:
    """Encoded dances: ``latent_BCTHW``, ``conditions``, and ``dancer_BTHW`` bool."""

    def __init__(self, dances: list[Dance], settings: Config):
        self.dances, self.encoders = dances, build_encoders(settings.encode, settings.model)
        images = [encode_image(self.encoders, each.frames_THWC[0], FRAMES, (SIDE, SIDE)) for each in dances]
        frames = [to_signed(each.frames_THWC[:FRAMES]).transpose(0, 1) for each in dances]
        self.latent_BCTHW = self.encoders.codec.encode(torch.stack(frames))
        self.dancer_BTHW = torch.from_numpy(np.stack([each.dancer_THW[:FRAMES] for each in dances]))
        poses_BCTHW, clip_BND = self.poses()
        self.conditions = assemble(
            torch.cat([image.latent_BCTHW for image in images]),
            poses_BCTHW,
            torch.cat([image.clip_BND for image in images]),
            clip_BND,
            self.encoders.text([CAPTION]) * len(dances),
        )

    def poses(self, gap: int = 0) -> tuple[Tensor, Tensor]:
        """Pose latents and first pose's features of the driving poses, without the ``gap`` that follow the first."""
        poses = [encode_pose(self.encoders, each.driving(gap), (SIDE, SIDE), (SIDE, SIDE)) for each in self.dances]
        return torch.cat([pose.latent_BCTHW for pose in poses]), torch.cat([pose.clip_BND for pose in poses])


class Campaign:
    """Everything of one seed: datasets, stages, and what the held-out clips say of them."""

    def __init__(self, base: Path, work: Path, seed: int, overrides: list[str]):
        self.work, self.seed, self.overrides = work, seed, [*SETTINGS, f"model.base={base}", *overrides]
        self.settings = self.config()
        shown = [dance(1 + seed, number) for number in range(SHOWN)]
        unseen = [dance(1 + seed, SHOWN + number) for number in range(HELD_OUT)]
        self.held = Held(unseen, self.settings)
        self.encoded, self.jumping = (
            commits.find(work / name) or write_encoded(work / name, shown, unseen, self.settings, jumps=jumps)
            for name, jumps in (("encoded", False), ("jumping", True))
        )

    def config(self, *overrides: str) -> Config:
        return config.load("demo", [*self.overrides, f"seed={self.seed}", *overrides])

    def stage(self, number: int, name: str, parent: commits.Commit | None, *overrides: str) -> commits.Commit:
        """The project's own stage, in a work folder named after what is different in it."""
        from training.stages import train_stage

        start = [f"train.start_from={parent.path}"] if parent else []
        workspace = Workspace(self.work / name)
        if (found := commits.find(workspace.stage(number))) is not None:
            return found
        encoded = f"train.encoded={self.encoded.path}"
        return train_stage(self.config(encoded, *start, *overrides), workspace, None, number)

    def trained(self) -> dict[str, Path]:
        """The folders of the weights of every stage and its ablation."""
        first = self.stage(1, "stage1", None)
        decoupled = self.stage(2, "decoupled", first)
        normal = self.stage(2, "normal", first, "train.stages.1.distillation=normal")
        simulated = self.stage(3, "simulated", decoupled, "train.stages.2.pose_simulation=0.5")
        plain = self.stage(3, "plain", decoupled, "train.stages.2.pose_simulation=0")
        jumping = [f"train.encoded={self.jumping.path}", "train.stages.2.pose_simulation=0"]
        jumps = self.stage(3, "jumps", decoupled, *jumping)
        commits_of = {
            "stage 1": first,
            "stage 2 decoupled": decoupled,
            "stage 2 normal": normal,
            "stage 3 simulated": simulated,
            "stage 3 plain": plain,
            "stage 3 jumps": jumps,
        }
        return {name: commit.path / "model" for name, commit in commits_of.items()}

    def scores(self, models: dict[str, Path]) -> Scores:
        held, own, noise = self.held, self.held.conditions, 1000 + self.seed
        still = held.latent_BCTHW[:, :, :1].expand_as(held.latent_BCTHW)
        base = build_base(self.settings.model, self.seed)
        videos = {
            "truth": held.latent_BCTHW,
            "frozen reference": still,
            "base": generated(lambda *inputs: base_forward(base, *inputs), own, noise),
            "untrained": generated(build_model(self.settings.model, self.seed), own, noise),
        }
        scores = {}
        for name, folder in models.items():
            model = load_model(folder)
            videos[name] = generated(model, own, noise)
            if name == "stage 1":
                others = own.with_pose_latent(own.condition_BCTHW.roll(1, dims=0))
                videos["stage 1, another's poses"] = generated(model, others, noise)
            jumps = []
            for gap in GAPS:
                poses_BCTHW, _ = held.poses(gap)
                jumps.append(start_jump(generated(model, own.with_pose_latent(poses_BCTHW), noise)))
            scores[name] = {f"{m} after a gap": np.mean([jump[m] for jump in jumps], axis=0) for m in jumps[0]}
        for name, latent in videos.items():
            scores.setdefault(name, {}).update(following(latent, held.latent_BCTHW, held.dancer_BTHW))
            if name != "frozen reference":
                scores[name] |= start_jump(latent)
        self.strips(videos)
        return scores

    def strips(self, videos: dict[str, Tensor], clips: int = 4) -> None:
        """``strips.png``: a row of frames for each video of the first clips."""
        from PIL import Image

        rows = [pixels(latent[n : n + 1])[0, ::2] for n in range(clips) for latent in videos.values()]
        picture = torch.cat([torch.cat(list(row), dim=1) for row in rows]).clamp(0, 1)
        Image.fromarray((255 * picture).byte().numpy()).save(self.work / "strips.png")


def scores_of(seed: int, base: Path, work: Path, overrides: list[str]) -> Scores:
    """Of one seed; those that ``work`` holds already are read."""
    file = work / "scores.json"
    if not file.exists():
        campaign = Campaign(base, work, seed, overrides)
        scores = campaign.scores(campaign.trained())
        file.write_text(json.dumps(scores, default=np.ndarray.tolist))
    return {
        name: {measure: np.array(values) for measure, values in measures.items()}
        for name, measures in json.loads(file.read_text()).items()
    }


QUESTIONS = (
    # question, measure, what should be larger, what should be smaller
    ("stage 1 is nearer to the truth than the reference held still", "error", "frozen reference", "stage 1"),
    ("stage 1 is nearer to the truth than the untrained model", "error", "untrained", "stage 1"),
    ("stage 1 follows the poses better than the untrained model", "following", "stage 1", "untrained"),
    ("it is these poses that stage 1 follows", "following", "stage 1", "stage 1, another's poses"),
    (
        "decoupled distillation keeps more of the true motion than normal",
        "share",
        "stage 2 decoupled",
        "stage 2 normal",
    ),
    ("decoupled follows better than normal", "following", "stage 2 decoupled", "stage 2 normal"),
    ("decoupled is nearer to the truth than normal", "error", "stage 2 normal", "stage 2 decoupled"),
    ("normal moves less than decoupled", "motion", "stage 2 decoupled", "stage 2 normal"),
    ("decoupled follows worse than stage 1", "following", "stage 1", "stage 2 decoupled"),
    ("Pose Simulation lowers the jump", "jump after a gap", "stage 3 plain", "stage 3 simulated"),
    ("Pose Simulation lowers the first step", "first step after a gap", "stage 3 plain", "stage 3 simulated"),
    ("stage 3 with it jumps less than stage 2", "jump after a gap", "stage 2 decoupled", "stage 3 simulated"),
    ("control: whole jumps in training lower the jump", "jump after a gap", "stage 3 plain", "stage 3 jumps"),
    ("control: and the first step", "first step after a gap", "stage 3 plain", "stage 3 jumps"),
)


WORTH_NAMING = 0.05
"""A difference that every seed's interval tells from 0, but smaller than this share of the larger value, is hardly
there."""


def difference(values: np.ndarray) -> dict[str, float]:
    """Of paired differences (clips,): mean, half its 95 % interval, and the share of clips where it is positive."""
    half = 1.96 * values.std(ddof=1) / len(values) ** 0.5
    return {"mean": float(values.mean()), "half_interval": float(half), "share_positive": float((values > 0).mean())}


def answers(of_seeds: list[Scores]) -> list[dict]:
    """A row for each question: the difference over all clips of all seeds, and of every seed alone."""
    rows = []
    for question, measure, larger, smaller in QUESTIONS:
        paired = [scores[larger][measure] - scores[smaller][measure] for scores in of_seeds]
        row = {"question": question, "measure": measure, "larger": larger, "smaller": smaller}
        seeds = [difference(values) for values in paired]
        row |= difference(np.concatenate(paired)) | {"seeds": seeds}
        row["of_the_larger"] = row["mean"] / float(np.mean([scores[larger][measure].mean() for scores in of_seeds]))
        sure = all(seed["mean"] > seed["half_interval"] for seed in seeds)
        row["answer"] = "no" if not sure else "yes" if row["of_the_larger"] >= WORTH_NAMING else "hardly"
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    parser.add_argument("--work", type=Path, help="folder for datasets, weights and strips; an ended stage is kept")
    parser.add_argument("overrides", nargs="*", help="settings such as train.stages.0.steps=100")
    options = parser.parse_args()
    work = options.work or Path(tempfile.mkdtemp(prefix="learning-"))
    environment.prepare()
    torch.set_num_threads(1)
    started, settings = time.perf_counter(), config.load("demo", [*SETTINGS, *options.overrides])
    base, of_seeds = pretrained(work / "base", settings), []
    print(f"base after {time.perf_counter() - started:.0f} s; work folder {work}", flush=True)
    with session(settings.resources, Workspace(work)):
        for seed in options.seeds:
            of_seeds.append(scores_of(seed, base, work / f"seed{seed}", options.overrides))
            print(f"seed {seed} after {time.perf_counter() - started:.0f} s", flush=True)
    means = {
        name: {m: [float(scores[name][m].mean()) for scores in of_seeds] for m in measures}
        for name, measures in of_seeds[0].items()
    }
    rows = answers(of_seeds)
    for name, measures in means.items():
        print(f"{name:26}", *(f"{m} " + "/".join(f"{value:.3f}" for value in v) for m, v in measures.items()), sep="  ")
    for row in rows:
        seeds = ", ".join(f"{seed['mean']:+.3f}±{seed['half_interval']:.3f}" for seed in row["seeds"])
        size = f"{row['measure']} {row['mean']:+.3f}±{row['half_interval']:.3f}, {100 * row['of_the_larger']:.1f} %"
        print(f"{row['answer']:7} {row['question']}: {size} ({seeds})")
    if options.out:
        facts = {"seeds": options.seeds, "held_out_clips": HELD_OUT, "settings": [*SETTINGS, *options.overrides]}
        facts |= {"means": means, "answers": rows}
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
