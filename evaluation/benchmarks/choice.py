"""Which benchmark a config asks for."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from evaluation.benchmarks.benchmark import Benchmark
from evaluation.benchmarks.dataset import dataset_benchmark
from evaluation.benchmarks.folder import folder_benchmark
from evaluation.benchmarks.mini import mini_benchmark
from evaluation.benchmarks.poses import EstimatorBuilder, Poses, own_estimator
from evaluation.tasks import run_tasks
from infra import commits
from infra.errors import UsageError
from infra.schema import Config
from infra.workspace import Workspace

DATASET, MINI = "dataset", "mini"


def benchmark_of(config: Config, workspace: Workspace, estimator: EstimatorBuilder = own_estimator) -> Benchmark:
    """``evaluate.benchmark``, opened. Poses that a folder does not bring are estimated, which needs a Ray session.

    Raises UsageError for a folder that is not there, InvalidManifest, and NotCommitted where there is no dataset.
    """
    asked, wanted = config.evaluate, config.evaluate.benchmark
    if wanted == DATASET:
        dataset = commits.read(workspace.dataset)
        return dataset_benchmark(dataset, asked.same_source, asked.different_source, config.seed)
    poses = Poses(poses_folder(workspace), config.pose, estimator)
    opened = partial(folder_benchmark, poses=poses, compat=config.pose.compat, side_by_side=_side_by_side)
    if wanted == MINI:
        made = mini_benchmark(workspace.folder / "benchmark", config)
        return opened(made.path, parents=(made,))
    folder = Path(wanted).expanduser().absolute()
    if not folder.is_dir():
        raise UsageError(
            f"evaluate.benchmark: {wanted!r} is no folder.", f"Use {DATASET}, {MINI} or a folder with a benchmark.yaml."
        )
    return opened(folder)


def poses_folder(workspace: Workspace) -> Path:
    """Where estimated poses are kept; may be deleted at any time."""
    return workspace.folder / "benchmark-poses"


def _side_by_side(function: Callable, calls: Mapping[str, tuple]) -> None:
    run_tasks(function, calls, label="Poses of the benchmark")
