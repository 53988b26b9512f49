"""The command line: parses, loads a config, calls one function."""

import re
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from infra import environment

environment.prepare()

app = typer.Typer(
    help="From dance videos to a trained, scored and compared SteadyDancer.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
queue_app = typer.Typer(help="Runs one after another or side by side, kept on disk.", no_args_is_help=True)
app.add_typer(queue_app, name="queue")
votes_app = typer.Typer(help="What people prefer, asked and counted.", no_args_is_help=True)
app.add_typer(votes_app, name="votes")
INTERRUPTED = 130
LARGEST_SEED = 2**63 - 1
OVERRIDE = re.compile(r"[a-z_][\w.-]*=")
CHAINED = ("curate", "encode", "train", "sweep", "queue", "evaluate", "compare", "demo", "run")
"""Commands that pass over what is committed."""
_debug = False


def _set_debug(value: bool) -> None:
    global _debug
    _debug = _debug or value


ConfigOption = Annotated[
    str | None, typer.Option("--config", "-c", help="Preset or YAML file; default: the work folder's own, else demo.")
]
Overrides = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Config overrides.")]
PrintConfig = Annotated[bool, typer.Option("--print-config", help="Show the config that would run, and stop.")]
QueueFolder = Annotated[Path, typer.Option("--queue", help="The queue's folder.")]
QueuedRun = Annotated[str, typer.Argument(metavar="NAME", help="Of a run, as `queue list` shows it.")]
Debug = Annotated[bool, typer.Option("--debug", help="Traceback on failure.", callback=_set_debug)]


def _load(config: str | None, overrides: list[str] | None, print_config: bool, checkpoint: str | None = None):
    """The config, or None once it has been printed instead. ``checkpoint``: a model that may have one of its own."""
    from infra.config import dump, load
    from infra.workspace import config_for

    overrides = overrides or []
    if config:
        loaded = load(config, overrides)
    elif checkpoint is None or _names_work(overrides):
        loaded = config_for(overrides)
    else:
        from model.animation.defaults import config_of

        loaded = config_of(checkpoint, overrides)
    if print_config:
        print(dump(loaded), end="")
        return None
    return loaded


def _names_work(overrides: list[str] | None) -> bool:
    return any(override.startswith("work=") for override in overrides or [])


def _seeded(overrides: list[str] | None, seed: int | None) -> list[str]:
    return [*(overrides or []), *([] if seed is None else [f"seed={seed}"])]


def _run(names: list[str], config: str | None, overrides: list[str] | None, print_config: bool) -> None:
    if (loaded := _load(config, overrides, print_config)) is not None:
        from infra.chain import run_chain

        run_chain(loaded, [step for step in _steps(loaded) if step.name in names])


def _run_planned(config, steps: list) -> None:
    """A stage that cannot fit is told before the first step rather than days later."""
    from infra.chain import run_chain
    from training.planning.check import check_all

    check_all(config, [step.number for step in steps if step.number is not None])
    run_chain(config, steps)


def _steps(config) -> list:
    from infra.chain import Step

    sample = Step("sample", "pipelines.sample.corpus:sample", lambda w: w.sample)
    return [
        *([] if config.sources else [sample]),
        Step(
            "curate",
            "pipelines.curate:curate",
            lambda w: w.dataset,
            "pipelines.curate:show",
            outdated="pipelines.curate:outdated",
        ),
        Step("encode", "pipelines.encode:encode", lambda w: w.encoded),
        *(
            Step(
                f"stage{n}",
                "training.stages:train_stage",
                lambda w, n=n: w.stage(n),
                "training.stages:show",
                n,
                outdated="training.stages:asked_for_another",
            )
            for n in (1, 2, 3)
        ),
        Step(
            "evaluate",
            "evaluation.evaluate:evaluate",
            lambda w: w.evaluation,
            "evaluation.evaluate:show",
            outdated="evaluation.outdated:outdated",
            follows=True,
        ),
        Step("compare", "evaluation.compare:compare", lambda w: w.comparison, "evaluation.compare:show", follows=True),
    ]


@app.command()
def sample(
    folder: Annotated[Path, typer.Argument(help="New folder for the corpus.")],
    overrides: Overrides = None,
    seed: Annotated[int | None, typer.Option(min=0, max=LARGEST_SEED, help="The same as seed=N.")] = None,
    config: ConfigOption = None,
    print_config: PrintConfig = False,
    debug: Debug = False,
) -> None:
    """Render dancers with known joints and planted faults."""
    if (loaded := _load(config, _seeded(overrides, seed), print_config)) is not None:
        from pipelines.sample.corpus import write_sample

        write_sample(folder, loaded.sample, loaded.seed)


@app.command()
def curate(
    overrides: Overrides = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try items again that failed before.")] = False,
    config: ConfigOption = None,
    print_config: PrintConfig = False,
    debug: Debug = False,
) -> None:
    """Videos to a scored, gated, validated, sharded dataset.

    The same command again works on what is new: added or changed sources, edited gates.
    """
    overrides = [*(overrides or []), *(["curate.retry_failed=true"] if retry_failed else [])]
    _run(["sample", "curate"], config, overrides, print_config)


@app.command()
def status(
    overrides: Overrides = None, config: ConfigOption = None, print_config: PrintConfig = False, debug: Debug = False
) -> None:
    """Progress, rate, remaining time and failures of a running or finished curation."""
    if (loaded := _load(config, overrides, print_config)) is not None:
        from pipelines.work.status import show

        show(loaded.work)


@app.command()
def gate(
    dataset: Annotated[str, typer.Argument(help="A committed dataset: folder or URI.")],
    gates: Annotated[str, typer.Option(help="Gates preset or YAML file.")],
    out: Annotated[str, typer.Option(help="Where the dataset that comes of it is committed.")],
    config: ConfigOption = None,
    print_config: PrintConfig = False,
    debug: Debug = False,
) -> None:
    """Judge a dataset's clips again by other gates, without decoding anything."""
    if print_config:
        _load(config, [], print_config)
        return
    from pipelines.regate import regate_dataset

    regate_dataset(dataset, gates, out)


@app.command()
def forget(
    source: Annotated[
        str, typer.Argument(help="A source's relative path, provenance or SHA-256, or the subject shown.")
    ],
    dataset: Annotated[str, typer.Option(help="A committed dataset: folder or URI.")],
    out: Annotated[str, typer.Option(help="Where the dataset without it is committed.")],
    overrides: Overrides = None,
    purge: Annotated[
        bool, typer.Option("--purge", help="Delete its intermediate files, and MLflow's reports, in the work folder.")
    ] = False,
    config: ConfigOption = None,
    print_config: PrintConfig = False,
    debug: Debug = False,
) -> None:
    """Remove a person's or source's clips from a dataset, and list all that was made of them.

    The work folder will not take the source up again: the one the dataset or a parent lies in, else name it (work=...).
    """
    if (loaded := _load(config, overrides, print_config)) is not None:
        from pipelines.forget import forget_source

        named = config is not None or _names_work(overrides)
        forget_source(source, dataset, out, work=loaded.work if named else None, purge=purge)


@app.command()
def encode(
    overrides: Overrides = None, config: ConfigOption = None, print_config: PrintConfig = False, debug: Debug = False
) -> None:
    """A dataset's clips to latents and features."""
    _run(["encode"], config, overrides, print_config)


@app.command()
def train(
    overrides: Overrides = None,
    stage: Annotated[int | None, typer.Option(min=1, max=3, help="One stage; default: all that are left.")] = None,
    start_from: Annotated[
        str | None,
        typer.Option("--from", metavar="COMMIT", help="Checkpoint of the stage before; default: the work folder's."),
    ] = None,
    config: ConfigOption = None,
    print_config: PrintConfig = False,
    debug: Debug = False,
) -> None:
    """The three decoupled stages on DeepSpeed ZeRO.

    The same command again continues, also on another number of workers or under another ZeRO stage.
    """
    if start_from is not None:
        if stage is None:
            raise typer.BadParameter("goes with --stage, which says what to start from it", param_hint="--from")
        overrides = [*(overrides or []), f"train.start_from={start_from}"]
    if (loaded := _load(config, overrides, print_config)) is not None:
        numbers = [stage] if stage else [1, 2, 3]
        _run_planned(loaded, [step for step in _steps(loaded) if step.number in numbers])


@app.command()
def plan(
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[world=N] [gpu=NAME] [price=P] [mfu=M] [KEY=VALUE]...")
    ] = None,
    stage: Annotated[int | None, typer.Option(min=1, max=3, help="One stage; default: all.")] = None,
    config: ConfigOption = None,
    print_config: PrintConfig = False,
    debug: Debug = False,
) -> None:
    """Memory by part, FLOPs, time, disk and cost of training, before it starts; exit 1 if it cannot fit.

    world: workers; gpu: such as h100-80, cpu, default what is here; price: of a GPU hour; mfu: 0..1, share of the peak.
    """
    from training.planning.command import split_overrides

    asked, overrides = split_overrides(overrides or [])
    if (loaded := _load(config, overrides, print_config)) is not None:
        from training.planning.command import plan_stages

        if not plan_stages(loaded, [stage] if stage else [1, 2, 3], **asked):
            raise typer.Exit(1)


@app.command()
def export(
    checkpoint: Annotated[str, typer.Argument(metavar="COMMIT", help="A stage's folder.")],
    out: Annotated[str, typer.Option(help="New folder for the export.")],
    form: Annotated[
        Literal["diffusers", "official", "lora-peft", "lora-comfyui"],
        typer.Option("--format", help="The first two: whole models; the others: of a lora stage."),
    ] = "diffusers",
    precision: Annotated[Literal["bf16", "fp32"], typer.Option(help="Of the weights that may be in either.")] = "bf16",
    debug: Debug = False,
) -> None:
    """A stage's weights for other programs, committed with their lineage."""
    from training.export import export as write_export

    commit = write_export(checkpoint, out, form, precision=precision)
    print(f"{commit.uri}  ({form}, {sum(facts['bytes'] for facts in commit.files.values()) / 1e6:.1f} MB)")


@app.command()
def sweep(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the sweep; a folder of that name under WORK/sweeps.")],
    stage: Annotated[int, typer.Option(min=1, max=3, help="The stage that is trained.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=V1,V2...]... [KEY=VALUE]...", help="What varies, and what holds."),
    ] = None,
    listed: Annotated[
        Path | None, typer.Option("--list", exists=True, dir_okay=False, help="YAML: a list of lists of overrides.")
    ] = None,
    cpus: Annotated[int | None, typer.Option(min=1, help="For all runs together; default: the machine's.")] = None,
    gpus: Annotated[int | None, typer.Option(min=0, help="The same.")] = None,
    memory_gb: Annotated[float | None, typer.Option(min=0.1, help="The same.")] = None,
    config: ConfigOption = None,
    debug: Debug = False,
) -> None:
    """Train one stage with every combination of values, and compare the runs.

    The same command again continues; other values under the same name are added.
    """
    from training.sweep.sweep import sweep as run_sweep

    limits = {"cpus": cpus, "gpus": gpus, "memory_gb": memory_gb}
    if not run_sweep(name, stage, config, overrides or [], listed=listed, **limits):
        raise typer.Exit(1)


@app.command()
def pose(
    video: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A video of somebody who moves.")],
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option(help="Folder for .pose.npz, overlay and summary.")] = Path("poses"),
    people: Annotated[int, typer.Option(min=1, help="How many persons to follow at most.")] = 1,
    seconds: Annotated[float | None, typer.Option(min=0.1, help="Of the video's start only so much.")] = None,
    reference: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="Photo to align to.")] = None,
    pair: Annotated[Path | None, typer.Option(help="New folder for the official inference script.")] = None,
    prompt: Annotated[str, typer.Option(help="Text of the pair: the motion, no appearance.")] = "",
    seed: Annotated[int | None, typer.Option(min=0, max=LARGEST_SEED, help="The same as seed=N.")] = None,
    config: ConfigOption = None,
    print_config: PrintConfig = False,
    debug: Debug = False,
) -> None:
    """A video to whole-body poses, an overlay to look at and a summary.

    With --reference and --pair also the folder of condition pictures that the official inference script takes.
    """
    if (loaded := _load(config, _seeded(overrides, seed), print_config)) is not None:
        from model.pose.command import pose_files

        pose_files(loaded, video, out, people=people, seconds=seconds, reference=reference, pair=pair, prompt=prompt)


@app.command()
def animate(
    out: Annotated[Path, typer.Option(help="The mp4; of several videos the folder. Files there are replaced.")],
    checkpoint: Annotated[
        str, typer.Option(metavar="MODEL", help="A stage's folder, a diffusers or official folder, or a hub id.")
    ],
    image: Annotated[
        list[Path] | None, typer.Option(exists=True, dir_okay=False, help="The reference photo; also several.")
    ] = None,
    driving: Annotated[
        list[Path] | None,
        typer.Option(exists=True, dir_okay=False, help="Driving video, or .npz pose track; also several."),
    ] = None,
    pair: Annotated[
        list[Path] | None,
        typer.Option(exists=True, file_okay=False, help="Instead of both: a folder as `pose --pair` writes it."),
    ] = None,
    overrides: Overrides = None,
    prompt: Annotated[str | None, typer.Option(help="The motion in words; default: a pair's own.")] = None,
    seed: Annotated[
        list[int] | None, typer.Option(min=0, max=LARGEST_SEED, help="Default: the config's; also several.")
    ] = None,
    people: Annotated[int, typer.Option(min=1, max=6, help="How many move, matched from left to right.")] = 1,
    lora: Annotated[
        list[str] | None, typer.Option(metavar="FILE[:SCALE]", help="Merged into the model; also several.")
    ] = None,
    preview: Annotated[
        bool, typer.Option("--preview", help="OUT.preview.png while a video is made: first, middle, last frame.")
    ] = False,
    provenance: Annotated[
        bool, typer.Option("--provenance/--no-provenance", help="Model, hashes and seed in the file's metadata.")
    ] = True,
    config: Annotated[
        str | None,
        typer.Option(
            "--config",
            "-c",
            help="Preset or YAML file; default: that of MODEL's work folder, else paper's steps and size.",
        ),
    ] = None,
    print_config: PrintConfig = False,
    debug: Debug = False,
) -> None:
    """A photo and a driving pose to a video that starts at the photo.

    Several photos, drivings or seeds give a video of each with each, and a grid of all.

    [bold]Not acceptable:[/]
    - animating people who have not agreed to it,
    - passing results off as recordings,
    - sexual content that shows minors or real people,
    - deceiving or harassing anybody.
    """
    seeded = _seeded(overrides, seed[0] if seed else None)
    if (loaded := _load(config, seeded, print_config, checkpoint)) is not None:
        from model.animation.request import Request, lora_of

        request = Request(
            out=out,
            checkpoint=checkpoint,
            images=image or [],
            drivings=driving or [],
            pairs=pair or [],
            prompt=prompt,
            seeds=seed or [loaded.seed],
            people=people,
            loras=[lora_of(each) for each in lora or []],
            preview=preview,
            provenance=provenance,
        )
        request.check()  # before torch is loaded, which takes seconds
        from model.animation.command import animate_files

        animate_files(loaded, request)


@app.command()
def evaluate(
    overrides: Overrides = None, config: ConfigOption = None, print_config: PrintConfig = False, debug: Debug = False
) -> None:
    """Generate the pairs with every stage and score them."""
    _run(["evaluate"], config, overrides, print_config)


@app.command()
def benchmark(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="x-dance, tiktok, realisdance-val; manifest: by its benchmark.yaml.")
    ],
    folder: Annotated[Path, typer.Argument(help="The benchmark's files.")],
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option(help="The manifest; default: FOLDER/benchmark.yaml.")] = None,
    config: ConfigOption = None,
    print_config: PrintConfig = False,
    debug: Debug = False,
) -> None:
    """Check a benchmark's files, show its strata and write its manifest."""
    if (loaded := _load(config, overrides, print_config)) is not None:
        from evaluation.benchmarks.command import check_benchmark

        check_benchmark(loaded, name, folder, out)


@app.command()
def metric(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the metric; a wrong one lists them.")],
    overrides: Overrides = None,
    generated: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="The video to measure.")] = None,
    reference: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="The photo.")] = None,
    driving: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="The driving video.")] = None,
    generated_pose: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="Its .pose.npz.")] = None,
    driving_pose: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="Its .pose.npz.")] = None,
    same_source: Annotated[bool, typer.Option("--same-source", help="The driving video is the ground truth.")] = False,
    by_index: Annotated[bool, typer.Option("--by-index", help="Frame i is driven by frame i, not by time.")] = False,
    floor: Annotated[
        bool, typer.Option("--noise-floor", help="Instead: what it says of the driving video itself, estimated again.")
    ] = False,
    config: ConfigOption = None,
    print_config: PrintConfig = False,
    debug: Debug = False,
) -> None:
    """One metric of one video, as JSON; poses that are not given are estimated."""
    needed = ("--driving", driving) if floor else ("--generated", generated)
    if needed[1] is None:
        raise typer.BadParameter("missing", param_hint=needed[0])
    if (loaded := _load(config, overrides, print_config)) is not None:
        import json

        from evaluation.single_video import measure, measure_floor

        poses = {"generated_pose": generated_pose, "driving_pose": driving_pose}
        rules = {"same_source": same_source, "by_index": by_index}
        if floor:
            found = measure_floor(loaded, name, driving, driving_pose)
        else:
            found = measure(loaded, name, generated, reference=reference, driving=driving, **poses, **rules)
        print(json.dumps(found, indent=1))


@app.command()
def compare(
    runs: Annotated[list[str] | None, typer.Argument(metavar="[RUN]... [KEY=VALUE]...")] = None,
    config: ConfigOption = None,
    out: Annotated[Path, typer.Option(help="Folder for the comparison of RUNs.")] = Path("comparison"),
    by: Annotated[
        str | None, typer.Option(metavar="STRATUM", help="Print differences by stratum of pairs too.")
    ] = None,
    print_config: PrintConfig = False,
    debug: Debug = False,
) -> None:
    """Compare the stages of a work folder, or several evaluations (RUN: an evaluation's folder)."""
    overrides = [item for item in runs or [] if OVERRIDE.match(item)]
    folders = [item for item in runs or [] if item not in overrides]
    if (loaded := _load(config, overrides, print_config)) is None:
        return
    from infra.commits import read

    if folders:
        from evaluation.compare import compare_runs

        compare_runs([read(folder) for folder in folders], out, by=by)
        return
    from infra.chain import run_chain

    compared = run_chain(loaded, [step for step in _steps(loaded) if step.name == "compare"])
    if by is not None:
        from evaluation.compare import print_strata

        print_strata(compared[-1], by)


@app.command("gate-release")
def gate_release(
    baseline: Annotated[str, typer.Argument(help="An evaluation's folder.")],
    candidate: Annotated[str, typer.Argument(help="Another.")],
    margins: Annotated[
        Path, typer.Option(exists=True, dir_okay=False, help="YAML: metric: by how much it may be worse.")
    ],
    model: Annotated[str | None, typer.Option(help="Of both; default: the last stage of each.")] = None,
    kind: Annotated[
        Literal["same_source", "different_source", "all"], typer.Option(help="Of the pairs to judge on.")
    ] = "all",
    debug: Debug = False,
) -> None:
    """Whether a candidate is, metric by metric, at most a margin worse than a baseline.

    Exit 0: it is; 1: it is not, or nothing could be judged; 2: wrong usage; 3: the pairs do not tell.
    """
    from rich.console import Console

    from evaluation.release import gate_release as judge

    raise typer.Exit(judge(baseline, candidate, margins, model, Console(), kind))


@app.command()
def demo(
    overrides: Overrides = None, config: ConfigOption = None, print_config: PrintConfig = False, debug: Debug = False
) -> None:
    """The whole chain on rendered dancers, checked against what is known of them."""
    if (loaded := _load(config or "demo", overrides, print_config)) is not None:
        from rich.console import Console

        from infra.chain import run_chain
        from pipelines.sample.check import check_labels

        commits = {commit.kind: commit for commit in run_chain(loaded, _steps(loaded))}
        if "sample" in commits:
            check_labels(commits["sample"], commits["dataset"], Console())


@app.command()
def run(
    overrides: Overrides = None, config: ConfigOption = None, print_config: PrintConfig = False, debug: Debug = False
) -> None:
    """The whole chain from one config; what is done already is passed over."""
    if (loaded := _load(config, overrides, print_config)) is not None:
        _run_planned(loaded, _steps(loaded))


@queue_app.command("add")
def queue_add(
    items: Annotated[list[str], typer.Argument(metavar="CONFIG... [KEY=VALUE]...", help="Presets or YAML files.")],
    queue: QueueFolder = Path("queue"),
    name: Annotated[str | None, typer.Option(help="Default: the work folder's.")] = None,
    command: Annotated[str, typer.Option(help="train, or another command of the chain.")] = "train",
    stage: Annotated[int | None, typer.Option(min=1, max=3, help="Of train.")] = None,
    priority: Annotated[int, typer.Option(help="The higher the earlier.")] = 0,
    after: Annotated[list[str] | None, typer.Option(help="Only once that entry is done; also several.")] = None,
    debug: Debug = False,
) -> None:
    """Add runs: one of each config, as it is now."""
    if stage is not None and command != "train":
        raise typer.BadParameter(f"goes with train, not with {command}", param_hint="--stage")
    from training.queue.queue import add

    files = [item for item in items if not OVERRIDE.match(item)]
    overrides = [item for item in items if item not in files]
    step = [command, *([] if stage is None else ["--stage", str(stage)])]
    for entry in add(queue, files, overrides, name=name, command=step, priority=priority, after=after or []):
        print(f"{entry.name}: {' '.join(entry.command)} in {entry.work}")


@queue_app.command("run")
def queue_run(
    queue: QueueFolder = Path("queue"),
    cpus: Annotated[int | None, typer.Option(min=1, help="For all runs together; default: the machine's.")] = None,
    gpus: Annotated[int | None, typer.Option(min=0, help="The same.")] = None,
    memory_gb: Annotated[float | None, typer.Option(min=0.1, help="The same.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Wait for more when all is done.")] = False,
    debug: Debug = False,
) -> None:
    """Run what waits, side by side as far as cores, memory and GPUs go; exit 1 if something failed."""
    from training.queue.runner import run_queue

    if not run_queue(queue, cpus=cpus, gpus=gpus, memory_gb=memory_gb, keep=keep):
        raise typer.Exit(1)


@queue_app.command("list")
def queue_list(queue: QueueFolder = Path("queue"), debug: Debug = False) -> None:
    """Every run: state, priority, how far it is, and what is wrong."""
    from training.queue.table import show

    show(queue)


@queue_app.command("cancel")
def queue_cancel(name: QueuedRun, queue: QueueFolder = Path("queue"), debug: Debug = False) -> None:
    """Take a run out; one that runs writes a checkpoint first."""
    from training.queue.queue import Queue

    entry = Queue(queue).cancel(name)
    print(f"{entry.name}: {'cancelling' if entry.cancelling else entry.state}")


@queue_app.command("retry")
def queue_retry(name: QueuedRun, queue: QueueFolder = Path("queue"), debug: Debug = False) -> None:
    """Let a failed or cancelled run wait again."""
    from training.queue.queue import Queue

    entry = Queue(queue).retry(name)
    print(f"{entry.name}: {entry.state}")


@queue_app.command("log")
def queue_log(
    name: QueuedRun,
    queue: QueueFolder = Path("queue"),
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on while it runs.")] = False,
    debug: Debug = False,
) -> None:
    """What a run has printed."""
    from training.queue.table import show_log

    show_log(queue, name, follow)


@votes_app.command("export")
def votes_export(
    evaluations: Annotated[list[str], typer.Argument(metavar="EVALUATION...", help="Folders of evaluations.")],
    out: Annotated[Path, typer.Option(help="A new folder for the page and its key.")],
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Of the order and the sides.")] = 0,
    model: Annotated[list[str] | None, typer.Option(help="Only these meet; default: all. Also several.")] = None,
    most: Annotated[int | None, typer.Option(min=1, help="So many items, by the seed; default: all.")] = None,
    debug: Debug = False,
) -> None:
    """Write a page of blinded pairs of videos for raters, and the key that says which is which."""
    from evaluation.votes.export import export_votes
    from infra.commits import read

    export_votes([read(folder) for folder in evaluations], out, seed, model or [], most)


@votes_app.command("import")
def votes_import(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="What `votes export` wrote.")],
    votes: Annotated[list[Path], typer.Argument(metavar="VOTES...", help="The files that raters downloaded.")],
    debug: Debug = False,
) -> None:
    """Count votes: good, same and bad, strengths with intervals, and how far raters agree."""
    from evaluation.votes.preferences import import_votes

    import_votes(folder, votes)


@app.command()
def lineage(
    path: Annotated[str, typer.Argument(help="A committed artifact: folder or URI.")],
    config: ConfigOption = None,
    print_config: PrintConfig = False,
    debug: Debug = False,
) -> None:
    """The tree of parents of an artifact, with every hash checked."""
    if print_config:
        _load(config, [], print_config)
        return
    from rich import print as show

    from infra.lineage import lineage as follow

    tree, faults = follow(path)
    show(tree)
    if faults:
        raise typer.Exit(1)


@app.command()
def doctor(
    overrides: Overrides = None, config: ConfigOption = None, print_config: PrintConfig = False, debug: Debug = False
) -> None:
    """What is installed, which real parts can be reached, and what to do about each."""
    if (loaded := _load(config, overrides, print_config)) is not None:
        from infra.doctor import examine

        if not examine(loaded):
            raise typer.Exit(1)


def main(arguments: list[str] | None = None) -> None:
    """Exit codes: 0 done, 1 failed, 2 wrong usage, 3 gate-release cannot tell, 130 interrupted."""
    sys.exit(_main(arguments))


def _main(arguments: list[str] | None) -> int:
    from typer.exceptions import TyperException
    from typer.rich_utils import rich_format_error

    from infra.errors import SteadyDancerError

    _show_what_the_model_logs()
    try:
        code = app(args=arguments, standalone_mode=False) or 0
        if code == INTERRUPTED:  # what typer makes of Ctrl-C
            command = next(iter(sys.argv[1:] if arguments is None else arguments), None)
            continues = " The same command continues from what was committed." if command in CHAINED else ""
            print(f"\nInterrupted.{continues}", file=sys.stderr)
        return code
    except TyperException as error:
        rich_format_error(error)
        return error.exit_code
    except Exception as error:
        if _debug:
            raise
        cause = getattr(error, "cause", None) or error  # Ray wraps what a task raised
        known = isinstance(cause, SteadyDancerError)
        bug = f"{type(cause).__name__}: {cause}\nThis is a bug; --debug shows the traceback."
        message = str(cause) if known else bug
        from rich.console import Console
        from rich.text import Text

        Console(stderr=True).print(Text("Error: ", "bold red") + Text(message), soft_wrap=True)
        return cause.exit_code if known else 1


def _show_what_the_model_logs() -> None:
    """Such as which weights were taken; of all else :mod:`logging` itself shows the warnings."""
    import logging

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            print(self.format(record), file=sys.stderr)  # where a progress bar may have put itself in the way

    logger = logging.getLogger("model")
    logger.setLevel(logging.INFO)
    if not logger.handlers:
        logger.addHandler(Lines())


if __name__ == "__main__":
    main()
