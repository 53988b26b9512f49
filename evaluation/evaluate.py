"""The step `evaluate`: pairs from the dataset, videos by every stage, scores of every video."""

import shutil
from pathlib import Path

import pyarrow.parquet as pq
from rich.console import Console
from rich.markup import escape

from evaluation.clips import Clip, kept_clips, read_clip
from evaluation.generation import (
    UNTRAINED,
    VIDEO,
    Generator,
    ModelUnderTest,
    animate_pair,
    condition_video,
    generate_pairs,
    read_inputs,
)
from evaluation.metrics.metric import OK
from evaluation.metrics.registry import select
from evaluation.pairs import DIFFERENT, SAME, Pair, choose_pairs, write_pairs
from evaluation.scoring import EstimatorBuilder, pose_estimator, score_pairs
from evaluation.summary import failures, print_means, summarise
from evaluation.tasks import Failure
from infra import commits
from infra.commits import Commit
from infra.config import section_values
from infra.errors import SteadyDancerError
from infra.schema import Config
from infra.tracking import StepRun
from infra.workspace import Workspace

SECTIONS = ("seed", "clip", "pose", "encode", "model", "animate", "evaluate")
STAGES = (1, 2, 3)


def evaluate(
    config: Config,
    workspace: Workspace,
    run: StepRun,
    *,
    generator: Generator = animate_pair,
    estimator: EstimatorBuilder = pose_estimator,
) -> Commit:
    """Commits the evaluation of the untrained model and the three stages on pairs of the dataset.

    Files: pairs.parquet, scores.parquet (:data:`evaluation.scoring.SCHEMA`), references/<pair>.png,
    drivings/<pair>.mp4, poses/<pair>.mp4 (the condition), videos/<model>/<pair>.mp4. A pair that fails costs its own
    rows only. Raises SteadyDancerError if nothing at all could be scored.
    """
    select(config.evaluate.metrics)
    dataset = commits.read(workspace.dataset)
    checkpoints = [commits.read(workspace.stage(number)) for number in STAGES]
    models = [ModelUnderTest(UNTRAINED, None)]
    models += [ModelUnderTest(f"stage{n}", commit) for n, commit in zip(STAGES, checkpoints, strict=True)]
    every_clip = kept_clips(dataset)
    pairs = choose_pairs(every_clip, config.evaluate.same_source, config.evaluate.different_source, config.seed)
    notices = _fewer_than_asked(config, pairs)
    used = {name for pair in pairs for name in (pair.reference, pair.driving)}
    clips = {clip.clip_id: clip for clip in every_clip if clip.clip_id in used}

    units = workspace.folder / "evaluation-units"
    generated = generate_pairs(config, units, dataset, models, pairs, clips, generator)
    scores = score_pairs(config, dataset, pairs, clips, generated, estimator)
    _something_was_scored(scores)

    labels = [model.label for model in models]
    with commits.write(
        workspace.evaluation,
        "evaluation",
        config=section_values(config, *SECTIONS),
        parents=[dataset, *checkpoints],
        meta={"models": labels, "metrics": list(dict.fromkeys(config.evaluate.metrics)), "notices": notices},
        replace=True,
    ) as folder:
        write_pairs(folder / "pairs.parquet", pairs)
        pq.write_table(scores, folder / "scores.parquet")
        for pair in pairs:
            _write_inputs(folder, config, dataset, pair, clips)
        for (model, pair_id), unit in generated.items():
            if not isinstance(unit, Failure):
                target = folder / "videos" / model / f"{pair_id}.mp4"
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(unit.path / VIDEO, target)
    evaluation = commits.read(workspace.evaluation)

    summary = summarise(scores.to_pylist(), labels)
    run.log_metrics({f"{row.metric}/{row.model}": row.mean for row in summary if row.n})
    run.log_metrics({f"n/{row.metric}/{row.model}": row.n for row in summary})
    run.log_artifact(evaluation.path / "scores.parquet")
    run.log_artifact(evaluation.path / "pairs.parquet")
    return evaluation


def show(commit: Commit, console: Console) -> None:
    """The models' means and what failed."""
    with commit.open("scores.parquet") as file:
        scores = pq.read_table(file).to_pylist()
    pairs = len({row["pair"] for row in scores})
    for notice in commit.meta["notices"]:
        console.print(f"[bold yellow]{escape(notice)}[/]", soft_wrap=True)
    print_means(console, summarise(scores, commit.meta["models"]), f"Evaluation, number of pairs: {pairs}")
    for failure in failures(scores):
        console.print(f"[red]failed[/] {escape(failure)}", soft_wrap=True)


def _fewer_than_asked(config: Config, pairs: list[Pair]) -> list[str]:
    asked = {SAME: config.evaluate.same_source, DIFFERENT: config.evaluate.different_source}
    made = {kind: sum(pair.kind == kind for pair in pairs) for kind in asked}
    return [
        f"FEWER PAIRS THAN ASKED: {made[kind]} of {number} {kind.replace('_', ' ')} pairs; the dataset has no more."
        for kind, number in asked.items()
        if made[kind] < number
    ]


def _something_was_scored(scores) -> None:
    rows = scores.to_pylist()
    if all(row["status"] != OK for row in rows):
        raise SteadyDancerError(
            f"Not one of {len(rows)} scores could be computed; the first says: {rows[0]['reason']}",
            "Mend the cause and run the same command again; videos that were made are kept.",
        )


def _write_inputs(folder: Path, config: Config, dataset: Commit, pair: Pair, clips: dict[str, Clip]) -> None:
    """What people look at beside the videos. Failures are told; the pair's score rows have them too."""
    import cv2

    from model.video import write

    try:
        driver = read_clip(dataset, clips[pair.driving])
        opened = read_inputs(dataset, pair, clips[pair.reference], clips[pair.driving])
        condition = condition_video(config, opened)
    except SteadyDancerError as error:
        Console().print(f"[red]failed[/] inputs of {pair.id}: {escape(str(error))}", soft_wrap=True)
        return
    for name in ("references", "drivings", "poses"):
        (folder / name).mkdir(exist_ok=True)
    (folder / "drivings" / f"{pair.id}.mp4").write_bytes(driver.video)
    cv2.imwrite(str(folder / "references" / f"{pair.id}.png"), opened.reference[..., ::-1])
    write(folder / "poses" / f"{pair.id}.mp4", condition, opened.driving_fps)
