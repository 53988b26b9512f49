"""One ONNX network of DWPose: its file and whether it is the right one, its session, and running it in batches."""

import hashlib
import re
from pathlib import Path
from typing import Any, Literal

import numpy as np

from infra.errors import SteadyDancerError
from infra.schema import Pose

HUB = "yzd-v/DWPose"
HUB_FILES = {"detector": "yolox_l.onnx", "weights": "dw-ll_ucoco_384.onnx"}
HUB_SHA256 = {
    "detector": "7860ae79de6c89a3c1eb72ae9a2756c0ccfbe04b7791bb5880afabd97855a411",
    "weights": "724f4ff2439ed61afb86fb8a1951ec39c6220682803b4a8bd4f598cd913b1843",
}
HOW_TO_GET = (
    f"Set pose.detector and pose.weights to {HUB}, which downloads both networks, or to the two files of it "
    f"({', '.join(HUB_FILES.values())}), or set pose.estimator=mediapipe, which needs neither."
)
CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"

_HUB_ID = re.compile(r"^[\w.-]+/[\w.-]+$")


class Network:
    """The network that ``settings.detector`` or ``settings.weights`` names, on ``settings.device``.

    ``picture`` is the shape of one input, ``outputs`` maps names to shapes, both without the batch dimension. Outputs
    are taken by these names where the network has them, else in this order; the input may have any name.
    Raises SteadyDancerError where onnxruntime, the file or CUDA lacks, where the file is another one than
    ``settings.<key>_sha256`` (or, from the hub, the known one) says, and where it holds no such network.
    """

    def __init__(
        self,
        settings: Pose,
        key: Literal["detector", "weights"],
        picture: tuple[int, ...],
        outputs: dict[str, tuple[int, ...]],
    ):
        self._key, self._picture, self._outputs = f"pose.{key}", picture, outputs
        self._path = _locate(getattr(settings, key), key, pinned=getattr(settings, f"{key}_sha256") is not None)
        with self._path.open("rb") as file:
            self.sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        self._check_sha256(settings, key)
        self._session = self._open(settings)
        self.provider: str = self._session.get_providers()[0]
        self._input, self._names, fixed = self._check_shapes()
        self.batch: int = fixed or settings.batch
        """Pictures it takes at once: ``settings.batch``, or 1 where its file says so."""

    @property
    def about(self) -> dict[str, Any]:
        return {"file": self._path.name, "sha256": self.sha256, "provider": self.provider}

    def __call__(self, pictures: np.ndarray) -> list[np.ndarray]:
        """(n, C, H, W) float32, n up to ``batch`` -> the outputs in the order asked for, each (n, ...) float32.

        Raises SteadyDancerError where the network fails or gives other shapes than it declared.
        """
        try:
            given = self._session.run(self._names, {self._input: pictures})
        except Exception as error:  # onnxruntime's own errors share no base class but this
            raise SteadyDancerError(
                f"{self._key}: {self._path} failed on {len(pictures)} pictures ({error}).",
                fix="Lower pose.batch if memory ran out; else get the network again. " + HOW_TO_GET,
            ) from error
        for name, output, shape in zip(self._names, given, self._outputs.values(), strict=True):
            if output.shape != (len(pictures), *shape):
                raise self._refused(f"output {name} came as {output.shape}, {(len(pictures), *shape)} expected")
        return given

    def _refused(self, why: str) -> SteadyDancerError:
        return SteadyDancerError(f"{self._key}: {self._path}: {why}.", fix=HOW_TO_GET)

    def _check_sha256(self, settings: Pose, key: str) -> None:
        wanted = getattr(settings, f"{key}_sha256")
        if wanted is None and getattr(settings, key) == HUB:
            wanted = HUB_SHA256[key]
        if wanted is not None and wanted != self.sha256:
            raise SteadyDancerError(
                f"pose.{key}: {self._path} has the SHA-256 {self.sha256}, {wanted} expected.",
                fix=f"Delete it and get it again, or set pose.{key}_sha256 to the file you trust. {HOW_TO_GET}",
            )

    def _open(self, settings: Pose) -> Any:
        try:
            import onnxruntime
        except ImportError as error:
            raise SteadyDancerError(
                f"pose.estimator is dwpose, and onnxruntime cannot be imported ({error}).",
                fix="pip install 'steadydancer-train[dwpose]', or set pose.estimator=mediapipe.",
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = settings.threads, 1
        options.log_severity_level = 3  # errors: what matters of the rest is checked and said below
        providers = [CPU]
        if settings.device != "cpu" and CUDA in onnxruntime.get_available_providers():
            onnxruntime.preload_dlls()  # CUDA's libraries where pip put them
            providers = [CUDA, CPU]
        try:
            session = onnxruntime.InferenceSession(str(self._path), options, providers=providers)
        except Exception as error:  # onnxruntime's own errors share no base class but this
            raise self._refused(f"cannot be read as an ONNX network ({error})") from error
        # onnxruntime goes on without a word on the CPU where CUDA's libraries cannot be loaded.
        if settings.device == "cuda" and CUDA not in session.get_providers():
            raise SteadyDancerError(
                f"pose.device is cuda, and onnxruntime {onnxruntime.__version__} runs {self._path.name} on "
                f"{session.get_providers()[0]} only.",
                fix="pip install 'onnxruntime-gpu[cuda,cudnn]' in place of onnxruntime, or set pose.device=cpu.",
            )
        return session

    def _check_shapes(self) -> tuple[str, list[str], int | None]:
        """Name of the input, names of the outputs, and the batch size that the file fixes (None: any)."""
        inputs, there = self._session.get_inputs(), {each.name: each for each in self._session.get_outputs()}
        if len(inputs) != 1 or len(there) != len(self._outputs):
            raise self._refused(
                f"it has {len(inputs)} inputs and {len(there)} outputs ({', '.join(there)}), "
                f"1 and {len(self._outputs)} ({', '.join(self._outputs)}) expected"
            )
        names = list(self._outputs) if there.keys() == self._outputs.keys() else list(there)
        wanted = [(inputs[0], "input", self._picture)]
        wanted += [(there[name], "output", shape) for name, shape in zip(names, self._outputs.values(), strict=True)]
        for each, what, shape in wanted:
            fits = len(each.shape) == len(shape) + 1 and all(
                have == want or not isinstance(have, int) for have, want in zip(each.shape[1:], shape, strict=True)
            )
            if not fits or each.type != "tensor(float)":
                raise self._refused(
                    f"{what} {each.name} is {each.type} {each.shape}, tensor(float) ['batch', "
                    f"{', '.join(map(str, shape))}] expected"
                )
        batches = {each.shape[0] for each, _, _ in wanted if isinstance(each.shape[0], int)}
        if not batches <= {1}:
            raise self._refused(f"its batch dimension is fixed to {max(batches)}; 1 or any size expected")
        return inputs[0].name, names, 1 if batches else None


def _locate(source: str | None, key: str, *, pinned: bool) -> Path:
    """The local file ``source`` is, or the one it names on the hub, downloaded where it is not in the cache yet."""
    if not source:
        raise SteadyDancerError(f"pose.{key}: not set; an ONNX file or {HUB} was expected.", fix=HOW_TO_GET)
    path = Path(source).expanduser()
    if path.is_file():
        return path
    if path.exists() or path.suffix == ".onnx" or not _HUB_ID.match(source):
        raise SteadyDancerError(f"pose.{key}: {source} is no file; an ONNX file was expected.", fix=HOW_TO_GET)
    if source != HUB and not pinned:
        raise SteadyDancerError(
            f"pose.{key}: {source} is a hub id whose file is not known here; only {HUB} is.",
            fix=f"Set pose.{key}_sha256 to the SHA-256 of its {HUB_FILES[key]}. {HOW_TO_GET}",
        )
    return _download(source, key)


def _download(source: str, key: str) -> Path:
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        return Path(huggingface_hub.hf_hub_download(source, HUB_FILES[key]))
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError) as error:
        raise SteadyDancerError(
            f"pose.{key}: {HUB_FILES[key]} cannot be had from the hub as {source} ({type(error).__name__}).",
            fix=f"Check the connection and HF_HUB_OFFLINE. {HOW_TO_GET}",
        ) from error
