"""What is installed, which real parts can be reached, and what to do about each. Imports no heavy library."""

import importlib.util
import os
import shutil
import sys
import urllib.error
import urllib.request
from importlib import metadata
from pathlib import Path

from rich.console import Console
from rich.table import Table

from infra.config import presets
from infra.errors import SteadyDancerError
from infra.schema import Config

LIBRARIES = "ray torch deepspeed webdataset mlflow pyarrow great-expectations eva-decord av diffusers transformers peft"
GOOD, OPEN, BAD = "[green]ok[/]", "[yellow]not set[/]", "[red]missing[/]"
Row = tuple[str, str, str, str]


def examine(config: Config, console: Console | None = None) -> bool:
    """Prints the findings; False if something that ``config`` needs is missing."""
    rows = [*_machine(config), *_libraries(), *_parts(config), *_services(config)]
    table = Table(title=f"steadydancer doctor (presets: {', '.join(presets())})", title_justify="left")
    for column in ("part", "state", "found", "what to do"):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    (console or Console()).print(table)
    return not any(state == BAD for _, state, _, _ in rows)


def _machine(config: Config) -> list[Row]:
    from infra.workspace import machine_suffices

    rows = [("Python", GOOD, sys.version.split()[0], "")]
    for tool in ("g++", "ninja"):
        found = shutil.which(tool) or shutil.which(str(Path(sys.executable).parent / tool))
        advice = (
            "" if found else f"DeepSpeed compiles its gloo op: apt install {'g++' if tool == 'g++' else 'ninja-build'}"
        )
        rows.append((tool, GOOD if found else BAD, found or "", advice))
    gpu = Path("/dev/nvidiactl").exists()
    rows.append(
        ("GPU", GOOD if gpu else OPEN, "NVIDIA driver" if gpu else "none", "" if gpu else "CPU and gloo are used")
    )
    if config.resources.ray_address is None:
        try:
            machine_suffices(config.resources, Path(config.work).absolute())
            rows.append(("cores, memory, disk", GOOD, "as the config asks", ""))
        except SteadyDancerError as error:
            rows.append(("cores, memory, disk", BAD, *_split(error)))
    extensions = Path(os.environ["TORCH_EXTENSIONS_DIR"])
    built = sorted(p.parent.name for p in extensions.rglob("*.so")) if extensions.is_dir() else []
    advice = "" if built else "python -m training.prebuild (else the first training step compiles them)"
    rows.append(("DeepSpeed ops", GOOD if built else OPEN, ", ".join(built), advice))
    return rows


def _libraries() -> list[Row]:
    rows = []
    for name in LIBRARIES.split():
        try:
            rows.append((name, GOOD, metadata.version(name), ""))
        except metadata.PackageNotFoundError:
            rows.append((name, BAD, "", "pip install -c constraints.txt -e ."))
    return rows


def _parts(config: Config) -> list[Row]:
    pose, encode = config.pose, config.encode
    rows = []
    if importlib.util.find_spec("mediapipe"):
        rows.append(("pose: MediaPipe", GOOD, metadata.version("mediapipe"), ""))
    else:
        state = BAD if pose.estimator == "mediapipe" else OPEN
        rows.append(("pose: MediaPipe", state, "", "pip install -e '.[embedded]'"))
    dwpose = pose.estimator == "dwpose"
    rows.append(_weights("pose: DWPose detector", pose.detector, dwpose, "pose.detector=yzd-v/DWPose, or an ONNX file"))
    rows.append(_weights("pose: DWPose", pose.weights, dwpose, "pose.weights=yzd-v/DWPose, or an ONNX file"))
    if dwpose and not importlib.util.find_spec("onnxruntime"):
        rows.append(("onnxruntime", BAD, "", "pip install -e '.[dwpose]'"))
    curate = config.curate
    for part, where, without, option in (
        (
            "curation: text detector",
            curate.text_detector,
            "text is found by its shape",
            "curate.text_detector=FILE.onnx",
        ),
        ("curation: aesthetic head", curate.aesthetic, "no such score", "curate.aesthetic=FILE.safetensors"),
    ):
        rows.append(_weights(part, where, False, option) if where else (part, OPEN, without, option))
    captions = config.caption.endpoint
    without = "clips without text of their own are described by their scores"
    rows.append(("captions", GOOD if captions else OPEN, captions or without, "" if captions else "caption.endpoint="))
    rows.append(_weights("latents: Wan VAE", encode.codec_weights, encode.codec == "wan-vae", "encode.codec_weights="))
    rows.append(_weights("image: CLIP", encode.image_weights, encode.image == "clip", "encode.image_weights="))
    rows.append(_weights("text: umT5", encode.text_weights, encode.text == "umt5", "encode.text_weights="))
    rows.append(_weights("base: Wan 2.1 I2V", config.model.base, config.model.size == "wan-14b", "model.base="))
    return rows


def _weights(part: str, where: str | None, needed: bool, option: str) -> Row:
    if where is None:
        return part, BAD if needed else OPEN, "" if needed else "embedded default is used", option
    if Path(where).expanduser().exists():
        return part, GOOD, where, ""
    if where.count("/") == 1 and not where.startswith((".", "~", "/")):
        return part, GOOD, f"hub id {where}", "fetched when first used"
    return part, BAD, where, "no such file or folder"


def _services(config: Config) -> list[Row]:
    rows = []
    for source in config.sources or []:
        if "://" in source or "*" in source:
            rows.append(("source", GOOD, source, "looked at when curation starts"))
            continue
        found = Path(source).expanduser().exists()
        rows.append(("source", GOOD if found else BAD, source, "" if found else "no such file or folder"))
    s3 = bool(importlib.util.find_spec("s3fs"))
    found = (GOOD, "s3fs", "") if s3 else (OPEN, "local folders only", "pip install -e '.[s3]'")
    rows.append(("object store", *found))
    uri = config.tracking.uri
    if uri and uri.startswith("http"):
        try:
            with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=5) as answer:
                rows.append(("MLflow", GOOD, f"{uri} answers {answer.status}", ""))
        except (urllib.error.URLError, OSError, ValueError) as error:
            rows.append(("MLflow", BAD, f"{uri}: {error}", "start the server, or leave tracking.uri out"))
    else:
        rows.append(("MLflow", GOOD, uri or "sqlite in the work folder", ""))
    address = config.resources.ray_address
    rows.append(("Ray", GOOD, address or "local, started when needed", "" if address is None else "joined when needed"))
    return rows


def _split(error: SteadyDancerError) -> tuple[str, str]:
    first, _, rest = str(error).partition("\n")
    return first, rest
