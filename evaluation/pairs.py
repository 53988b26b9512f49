"""Which reference is animated by which driver. Pairs are data: chosen once from a dataset, then only read."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from evaluation.clips import Clip
from infra.errors import SteadyDancerError

SAME, DIFFERENT = "same_source", "different_source"

SCHEMA = pa.schema(
    [
        ("pair", pa.string()),
        ("kind", pa.string()),
        ("reference", pa.string()),
        ("driving", pa.string()),
        ("prompt", pa.string()),
        ("strata", pa.string()),
    ]
)


@dataclass(frozen=True)
class Pair:
    """The first frame of clip ``reference``, moved by the pose of clip ``driving`` under ``prompt``.

    In a same-source pair both are one clip, whose frames are the ground truth. ``strata`` describe the inputs only.
    """

    id: str
    kind: Literal["same_source", "different_source"]
    reference: str
    driving: str
    prompt: str
    strata: dict[str, str]


def choose_pairs(clips: list[Clip], same_source: int, different_source: int, seed: int) -> list[Pair]:
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
    strata = {
        "split": "held_out" if reference.held_out and driver.held_out else "train",
        "reference_shape": _shape(reference),
        "driving_shape": _shape(driver),
    }
    name = f"{kind.removesuffix('_source')}-{digest[:12]}"
    return Pair(name, kind, reference.clip_id, driver.clip_id, driver.caption, strata)


def _shape(clip: Clip) -> str:
    height, width = clip.size
    return "square" if height == width else "portrait" if height > width else "landscape"


def write_pairs(path: Path, pairs: list[Pair]) -> None:
    """One row per pair; ``strata`` is JSON."""
    rows = [
        {
            "pair": p.id,
            "kind": p.kind,
            "reference": p.reference,
            "driving": p.driving,
            "prompt": p.prompt,
            "strata": json.dumps(p.strata, sort_keys=True),
        }
        for p in pairs
    ]
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), path)


def read_pairs(file) -> list[Pair]:
    """What :func:`write_pairs` wrote, from a path or an open file."""
    rows = pq.read_table(file).to_pylist()
    return [
        Pair(r["pair"], r["kind"], r["reference"], r["driving"], r["prompt"], json.loads(r["strata"])) for r in rows
    ]
