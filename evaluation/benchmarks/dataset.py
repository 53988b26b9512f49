"""The benchmark of a curated dataset: pairs of its clips, those held out from training first."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from evaluation.benchmarks.benchmark import identify
from evaluation.benchmarks.strata import measured, with_tertiles
from evaluation.clips import Clip, kept_clips, read_clip
from evaluation.pairs import DIFFERENT, SAME, Pair, PairInputs
from infra.commits import Commit
from infra.errors import SteadyDancerError


@dataclass(frozen=True)
class DatasetBenchmark:
    """``clips``: those of the pairs, by id."""

    dataset: Commit
    pairs: list[Pair]
    clips: dict[str, Clip]
    by_index: bool = False
    name: str = "dataset"

    @cached_property
    def id(self) -> str:
        return identify(f"{self.name} {self.dataset.id}", self.pairs, self.by_index)

    @property
    def parents(self) -> tuple[Commit, ...]:
        return (self.dataset,)

    def open(self, pair: Pair) -> PairInputs:
        """Its one or two clips. Raises SteadyDancerError where a clip is damaged."""
        driver = read_clip(self.dataset, self.clips[pair.driving])
        same = pair.reference == pair.driving
        reference = driver if same else read_clip(self.dataset, self.clips[pair.reference])
        frames = driver.frames()
        return PairInputs(
            reference=frames[0] if same else reference.frames()[0],
            reference_pose=reference.pose[:1],
            driving=driver.pose,
            driving_frames=frames,
            driving_fps=self.clips[pair.driving].fps,
            prompt=pair.prompt,
            same_source=same,
            by_index=self.by_index,
        )


def dataset_benchmark(dataset: Commit, same_source: int, different_source: int, seed: int) -> DatasetBenchmark:
    """At most so many pairs of each kind (:func:`choose_pairs`). Raises SteadyDancerError if there is not one."""
    every = kept_clips(dataset)
    pairs = choose_pairs(every, same_source, different_source, seed)
    used = {name for pair in pairs for name in (pair.reference, pair.driving)}
    clips = {clip.clip_id: clip for clip in every if clip.clip_id in used}
    poses = {name: _pose(dataset, clip) for name, clip in clips.items()}
    firsts = {name: pose and pose[:1] for name, pose in poses.items()}
    measures = (measured(firsts[p.reference], poses[p.driving], clips[p.driving].fps) for p in pairs)
    pairs = [replace(p, strata=p.strata | said) for p, said in zip(pairs, measures, strict=True)]
    return DatasetBenchmark(dataset, with_tertiles(pairs), clips)


def _pose(dataset: Commit, clip: Clip):
    try:
        return read_clip(dataset, clip).pose
    except SteadyDancerError:
        return None  # told when the pair is opened, which costs its own rows only


def choose_pairs(clips: Sequence[Clip], same_source: int, different_source: int, seed: int) -> list[Pair]:
    """At most so many pairs of each kind, held-out clips first, by the seed and the clips' ids alone.

    Different-source pairs use as many different drivers as there are before one is used again, and never two clips of
    one source. Raises SteadyDancerError if not one pair can be made.
    """

    def rank(*ids: str) -> str:
        return hashlib.sha256("\0".join((str(seed), *ids)).encode()).hexdigest()

    ordered = sorted(clips, key=lambda clip: (not clip.held_out, rank(clip.clip_id)))
    pairs = [_pair(SAME, clip, clip) for clip in ordered[:same_source]]

    partners = {
        driver.clip_id: sorted(
            (clip for clip in ordered if clip.source_id != driver.source_id),
            key=lambda clip: (not clip.held_out, rank(driver.clip_id, clip.clip_id)),
        )
        for driver in ordered[: max(different_source, 0)]
    }
    rounds = max(map(len, partners.values()), default=0)
    crossed = [
        _pair(DIFFERENT, partners[driver.clip_id][turn], driver)
        for turn in range(rounds)
        for driver in ordered[:different_source]
        if turn < len(partners[driver.clip_id])
    ]
    pairs += crossed[:different_source]
    if not pairs:
        raise SteadyDancerError(
            f"No pair can be made: {len(clips)} kept clips of {len({clip.source_id for clip in clips})} sources.",
            "A different-source pair needs kept clips of two sources; a same-source pair needs one.",
        )
    return pairs


def _pair(kind: Literal["same_source", "different_source"], reference: Clip, driver: Clip) -> Pair:
    # from the clips' ids alone, so that evaluations of different runs know a common pair when they see one
    digest = hashlib.sha256("\0".join((kind, reference.clip_id, driver.clip_id)).encode()).hexdigest()
    content = hashlib.sha256("\0".join((kind, reference.sha256, driver.sha256, driver.caption)).encode()).hexdigest()
    strata = {
        "split": "held_out" if reference.held_out and driver.held_out else "train",
        "reference_shape": _shape(reference),
        "driving_shape": _shape(driver),
    }
    name = f"{kind.removesuffix('_source')}-{digest[:12]}"
    # two clips of one video are no two drivers
    return Pair(name, kind, reference.clip_id, driver.clip_id, driver.caption, strata, content, driver.source_id)


def _shape(clip: Clip) -> str:
    height, width = clip.size
    return "square" if height == width else "portrait" if height > width else "landscape"
