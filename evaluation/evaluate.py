"""The step `evaluate`: pairs from the dataset, videos by every stage, scores of every video."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.markup import escape

from evaluation.benchmarks.benchmark import Benchmark
from evaluation.benchmarks.choice import DATASET, benchmark_of
from evaluation.cost import write_costs
from evaluation.generation import (
    UNTRAINED,
    VIDEO,
    Generator,
    ModelUnderTest,
    animate_pair,
    condition_video,
    generate_pairs,
)
from evaluation.metrics.metric import OK
from evaluation.outdated import SECTIONS, files_of
from evaluation.pairs import DIFFERENT, SAME, Pair, read_pairs, write_pairs
from evaluation.plots import draw_metrics
from evaluation.scoring import Scored, check, score_pairs
from evaluation.seeds import VideoKey, averaged, file_names
from evaluation.summary import SummaryRow, failures, summarise
from evaluation.tables import print_means, print_missing, print_sets
from evaluation.tasks import Failure, in_one_line
from evaluation.video_scoring import EstimatorBuilder, pose_estimator
from evaluation.videos import find_videos, folder_of
from infra import commits
from infra.commits import Commit
from infra.config import section_values
from infra.errors import SteadyDancerError, UsageError
from infra.schema import Config
from infra.tracking import StepRun
from infra.workspace import Workspace

STAGES = (1, 2, 3)
LOGGED_VIDEOS = 4
"""Of each model; all of them are in the commit."""


def evaluate(
    config: Config,
    workspace: Workspace,
    run: StepRun,
    *,
    generator: Generator = animate_pair,
    estimator: EstimatorBuilder = pose_estimator,
) -> Commit:
    """Commits the evaluation of evaluate.models and evaluate.videos on the pairs of evaluate.benchmark.

    Files: pairs.parquet, scores.parquet, curves.parquet and sets.parquet (:mod:`evaluation.scoring`), costs.parquet
    (:mod:`evaluation.cost`), references/<pair>.png, drivings/<pair>.mp4, poses/<pair>.mp4 (the condition), and the
    videos (:func:`evaluation.seeds.file_names`). A pair that fails costs its own rows only. Raises SteadyDancerError if
    nothing at all could be scored, and for what is asked wrongly before any video is made.
    """
    metrics = check(config)
    models = _models(config, workspace)
    benchmark = benchmark_of(config, workspace, estimator)
    pairs, notices = benchmark.pairs, _fewer_than_asked(config, benchmark.pairs)
    made_elsewhere: dict[VideoKey, Path | Failure] = {}
    for label, theirs in config.evaluate.videos.items():
        found, told = find_videos(label, folder_of(theirs), pairs)
        made_elsewhere |= found
        notices += told
    generated = generate_pairs(config, workspace.folder / "evaluation-units", benchmark, models, generator)
    videos = {key: unit if isinstance(unit, Failure) else unit.path / VIDEO for key, unit in generated.items()}
    videos |= made_elsewhere
    scored = score_pairs(config, benchmark, videos, workspace.evaluation_scores, estimator)
    _something_was_scored(scored)

    labels = list(dict.fromkeys(model for model, _, _ in videos))
    told = {"name": benchmark.name, "id": benchmark.id, "files": files_of(config)}
    checkpoints = {model.label: model.commit.id for model in models if model.commit}
    about = {"benchmark": told, "models": labels, "notices": notices, "checkpoints": checkpoints}
    with commits.write(
        workspace.evaluation,
        "evaluation",
        config=section_values(config, *SECTIONS),
        parents=[*benchmark.parents, *(model.commit for model in models if model.commit)],
        meta={**about, "metrics": [metric.name for metric in metrics]},
        replace=True,
        about=["costs.parquet"],
    ) as folder:
        write_pairs(folder / "pairs.parquet", pairs)
        for name, table in scored._asdict().items():
            pq.write_table(table, folder / f"{name}.parquet")
        write_costs(folder / "costs.parquet", generated)
        for pair in pairs:
            _write_inputs(folder, config, benchmark, pair)
        _copy_videos(folder, videos)
    evaluation = commits.read(workspace.evaluation)

    _log(run, evaluation, pairs, scored, summarise(scored.scores.to_pylist(), pairs, labels))
    return evaluation


def _log(run: StepRun, evaluation: Commit, pairs: list[Pair], scored: Scored, summary: list[SummaryRow]) -> None:
    """Means, set metrics, the tables, a plot of the means, and the videos of the first pairs."""
    run.log_metrics({f"{row.metric}/{row.model}": row.mean for row in summary if row.n})
    run.log_metrics({f"n/{row.metric}/{row.model}": row.n for row in summary})
    sets = [row for row in scored.sets.to_pylist() if row["status"] == OK]
    run.log_metrics({f"{row['metric']}/{row['model']}/{row['kind']}": row["value"] for row in sets})
    for name in ("pairs", "costs", *scored._fields):
        run.log_artifact(evaluation.path / f"{name}.parquet")
    with TemporaryDirectory() as folder:
        plot = Path(folder) / "metrics.svg"
        plot.write_text(draw_metrics(summary, evaluation.meta["models"]))
        run.log_artifact(plot, "plots")
    for model in evaluation.meta["models"]:
        names = [f"videos/{model}/{pair.id}.mp4" for pair in pairs]
        for name in [name for name in names if name in evaluation.files][:LOGGED_VIDEOS]:
            run.log_artifact(evaluation.path / name, f"videos/{model}")


def show(commit: Commit, console: Console) -> None:
    """The models' means, the set metrics and what failed."""
    with commit.open("scores.parquet") as file, commit.open("pairs.parquet") as pairs_file:
        scores, pairs = pq.read_table(file).to_pylist(), read_pairs(pairs_file)
    with commit.open("sets.parquet") as file:
        sets = pq.read_table(file).to_pylist()
    for notice in commit.meta["notices"]:
        console.print(f"[bold yellow]{escape(notice)}[/]", soft_wrap=True)
    of_pairs = averaged(scores)
    seeds = ", each the mean of its seeds" if len(scores) > len(of_pairs) else ""
    title = f"Evaluation, number of pairs: {len(pairs)}{seeds}"
    print_means(console, summarise(scores, pairs, commit.meta["models"]), title)
    print_missing(console, of_pairs)
    print_sets(console, sets)
    for failure in failures(scores):
        console.print(f"[red]failed[/] {escape(failure)}", soft_wrap=True)


def _models(config: Config, workspace: Workspace) -> list[ModelUnderTest]:
    """In the order of the stages, then those of other work folders. Raises NotCommitted for one that is not there."""
    asked = [UNTRAINED, *(f"stage{number}" for number in STAGES)]
    stages = {f"stage{number}": workspace.stage(number) for number in STAGES}
    return [
        ModelUnderTest(label, commits.read(stages[label]) if label in stages else None)
        for label in asked
        if label in config.evaluate.models
    ] + [ModelUnderTest(label, _checkpoint(label, place)) for label, place in config.evaluate.checkpoints.items()]


def _checkpoint(label: str, place: str) -> Commit:
    commit = commits.read(place)
    if commit.kind != "checkpoint":
        raise UsageError(
            f"evaluate.checkpoints.{label}={place} is a {commit.kind}; a stage's checkpoint was expected.",
            "Name the folder of a stage, such as work/other/stage3.",
        )
    return commit


def _fewer_than_asked(config: Config, pairs: list[Pair]) -> list[str]:
    if config.evaluate.benchmark != DATASET:
        return []
    asked = {SAME: config.evaluate.same_source, DIFFERENT: config.evaluate.different_source}
    made = {kind: sum(pair.kind == kind for pair in pairs) for kind in asked}
    return [
        f"FEWER PAIRS THAN ASKED: {made[kind]} of {number} {kind.replace('_', ' ')} pairs; the dataset has no more."
        for kind, number in asked.items()
        if made[kind] < number
    ]


def _something_was_scored(scored: Scored) -> None:
    rows = pa.concat_tables([scored.scores, scored.sets], promote_options="default").to_pylist()
    if all(row["status"] != OK for row in rows):
        raise SteadyDancerError(
            f"Not one of {len(rows)} scores could be computed; the first says: {rows[0]['reason']}",
            "Mend the cause and run the same command again; videos that were made are kept.",
        )


def _copy_videos(folder: Path, videos: Mapping[VideoKey, Path | Failure]) -> None:
    """One that has gone since it was scored is told, and its pair has no video."""
    for key, name in file_names(videos).items():
        if not isinstance(video := videos[key], Failure):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                shutil.copyfile(video, target)
            except OSError as error:
                target.unlink(missing_ok=True)
                _tell_failed(name, error)


def _write_inputs(folder: Path, config: Config, benchmark: Benchmark, pair: Pair) -> None:
    """What people look at beside the videos. Failures of any kind are told; the pair's score rows have them too."""
    import cv2

    from model.video import write

    for name in ("references", "drivings", "poses"):
        (folder / name).mkdir(exist_ok=True)
    try:
        opened = benchmark.open(pair)
        cv2.imwrite(str(folder / "references" / f"{pair.id}.png"), opened.reference[..., ::-1])
        # At the pace that the model saw, so that players of one clock show what belongs together.
        pace = config.clip.fps if opened.by_index else opened.driving_fps
        write(folder / "drivings" / f"{pair.id}.mp4", _even(opened.driving_frames), pace)
        # Videos made elsewhere may be shorter than clip.frames, and so may their drivers.
        frames = opened.longest(config.clip.frames, config.clip.fps) or config.clip.frames
        shown = config.model_copy(update={"clip": config.clip.model_copy(update={"frames": frames})})
        write(folder / "poses" / f"{pair.id}.mp4", condition_video(shown, opened), config.clip.fps)
    except Exception as error:  # noqa: BLE001 - what was scored is worth more than its pictures
        _tell_failed(f"inputs of {pair.id}", error)


def _tell_failed(what: str, error: Exception) -> None:
    Console().print(f"[red]failed[/] {escape(f'{what}: {in_one_line(error)}')}", soft_wrap=True)


def _even(frames: np.ndarray) -> np.ndarray:
    """Without the last row or column where H.264 cannot take it."""
    return frames[:, : frames.shape[1] // 2 * 2, : frames.shape[2] // 2 * 2]
