"""Damaged files through the scan stages: `python tests/campaigns/damaged_files.py CORPUS [--files N] [--seed N]`.

Makes N damaged files (300) of the good ones in the folder CORPUS and of two longer ones made of them: cut off, cut out,
bits flipped, another container's head, headers fuzzed; and AVI headers that lie and texts that name another file. Each
goes through the scan stages in a guarded process with its deadline. It must end as quarantined with a reason, or scored
with its count of corrupt frames; a fault of the work (crashed, timed out, failed) is a breach, and so is a value that
does not fit the manifest. The good files among them must give exactly what they give alone. Prints a table; exits 1 on
any breach.
"""

import argparse
import functools
import hashlib
import io
import json
import math
import shutil
import struct
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

import av
import numpy as np
from rich.console import Console
from rich.progress import track as progress
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[2]))

from model import video
from pipelines.columns import COLUMNS, RETRIED
from pipelines.dataset import write_manifest
from pipelines.scan.previews import SaveStrip
from pipelines.scan.source import Probe, Scan
from pipelines.scan.window_scores import ScoreWindow
from pipelines.scan.windows import MakeWindows
from pipelines.work.guard import Guard, Work

STAGES = (Probe(), Scan(), MakeWindows(81, 16.0, 0.5, 0.1, 2), ScoreWindow(), SaveStrip())
QUARANTINE = {"unreadable", "damaged", "too_short"}
GOOD_EVERY = 30
"""After so many damaged files comes a good one, in the same process."""


def cut_off(data: bytes, draw: np.random.Generator) -> bytes:
    return data[: int(len(data) * draw.uniform(0.001, 0.999))]


def cut_out(data: bytes, draw: np.random.Generator) -> bytes:
    first, last = np.sort(draw.integers(0, len(data), 2))
    return data[:first] + data[last:]


def flip_bits(data: bytes, draw: np.random.Generator) -> bytes:
    changed = np.frombuffer(data, np.uint8).copy()
    count = int(10 ** draw.uniform(0, 3.5))
    places = draw.integers(0, len(changed), count)
    changed[places] ^= (1 << draw.integers(0, 8, count)).astype(np.uint8)
    return changed.tobytes()


def fuzz_header(data: bytes, draw: np.random.Generator) -> bytes:
    """Bytes of the index (moov), of the file's first kilobyte, or of its first frame, replaced."""
    changed = bytearray(data)
    begin = int(draw.choice([max(0, data.find(b"moov")), 0, max(0, data.find(b"mdat"))]))
    for _ in range(int(draw.integers(1, 60))):
        place = min(len(data) - 1, begin + int(draw.integers(0, 2000)))
        changed[place] = int(draw.choice([0, 255, draw.integers(0, 256)]))
    return bytes(changed)


def wrong_container(data: bytes, draw: np.random.Generator) -> bytes:
    heads = [
        b"RIFF\x24\x00\x00\x00AVI LIST",
        b"\x1aE\xdf\xa3\x01\x00\x00\x00",
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a",
        b"\x47",
    ]
    head = heads[int(draw.integers(len(heads)))]
    return head + data if draw.random() < 0.5 else head + data[len(head) :]


@functools.cache
def small_avi() -> bytes:
    made = io.BytesIO()
    with av.open(made, "w", format="avi") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 96, "yuvj420p"
        picture = np.random.default_rng(0).integers(0, 255, (12, 8, 3)).astype(np.uint8).repeat(8, 0).repeat(8, 1)
        for k in range(150):
            image = np.roll(picture, k, axis=1)
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")):
                container.mux(packet)
    return made.getvalue()


def lying_header(data: bytes, draw: np.random.Generator) -> bytes:
    """A sound AVI file in place of ``data``; what its headers say of times, rates, counts and sizes is made up."""
    changed = bytearray(small_avi())
    main, stream = changed.index(b"avih") + 8, changed.index(b"strh") + 8
    format_ = changed.index(b"strf") + 8
    places = [main, main + 16, main + 32, main + 36, *range(stream + 20, stream + 48, 4), format_ + 4, format_ + 8]
    for place in draw.choice(places, int(draw.integers(1, 4)), replace=False):
        value = int(draw.choice([0, 1, 25, 10**9, 2**31 - 1, 2**31, 0xF0000000, 2**32 - 1, draw.integers(2**32)]))
        struct.pack_into("<I", changed, place, value)
    return bytes(changed)


def names_another(data: bytes, draw: np.random.Generator) -> bytes:
    """A text that makes FFmpeg show the file VICTIM."""
    hls = f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{VICTIM}\n#EXT-X-ENDLIST\n"
    return str(draw.choice([f"ffconcat version 1.0\nfile {VICTIM}\n", hls])).encode()


VICTIM = "victim.mkv"
DAMAGES = (
    *(cut_off, cut_out, flip_bits, flip_bits, fuzz_header, fuzz_header, wrong_container),
    *(lying_header, names_another),
)


def longer_ones(sources: list[Path], folder: Path) -> list[Path]:
    """Two clips in one, a key frame every second, as Matroska and as a transport stream: something of these is left."""
    made = [folder / "long.mkv", folder / "long.ts"]
    size = (180, 320)
    for path in made:
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=30)
            stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
            stream.thread_count, stream.options = 1, {"g": "30", "preset": "veryfast"}
            for source in sources[:2]:
                for _, picture in video.frames(source):
                    small = np.ascontiguousarray(video.resize(picture, size))
                    for packet in stream.encode(av.VideoFrame.from_ndarray(small, format="rgb24")):
                        container.mux(packet)
            for packet in stream.encode():
                container.mux(packet)
    return made


def damage(sources: list[Path], folder: Path, count: int, seed: int) -> list[Path]:
    made = []
    for number in range(count):
        draw = np.random.default_rng([seed, number])
        source, how = sources[int(draw.integers(len(sources)))], DAMAGES[number % len(DAMAGES)]
        path = folder / f"{number:03d}-{how.__name__}{source.suffix}"
        path.write_bytes(how(source.read_bytes(), draw))
        made.append(path)
    return made


def scanned(guard: Guard, path: Path, folder: Path) -> Work:
    data = path.read_bytes()
    folder.mkdir()
    identity = hashlib.sha256(data).hexdigest()
    row = {"path": str(path), "source": path.name, "source_id": identity, "source_bytes": len(data), "folder": folder}
    return guard.work(STAGES, row)


def verdict(work: Work) -> str:
    if work.fault:
        return work.fault
    faults = sorted({row["fault"] for row in work.rows if row.get("fault")})
    if all(row.get("fault") for row in work.rows):
        return faults[0] if faults else "nothing"
    return "scored, with corrupt frames" if work.rows[0]["corrupt_frames"] else "scored, nothing corrupt seen"


def breach(work: Work) -> str | None:
    """What is wrong with how a file ended; None: nothing."""
    if work.fault:
        return f"{work.fault}: {work.error}"
    if not work.rows:
        return "no row"
    for row in work.rows:
        if row.get("fault"):
            if row["fault"] not in QUARANTINE or row["fault"] in RETRIED or not row.get("error"):
                return f"fault {row['fault']}, {row.get('error')}"
        elif row.get("corrupt_frames") is None or row.get("brightness") is None:
            return "neither quarantined nor scored"
    return None


def unfit(work: Work, manifest: Path) -> str | None:
    """What of the rows cannot stand in a manifest; None: nothing."""
    for row in work.rows:
        for column in COLUMNS:
            value = row.get(column.name)
            if isinstance(value, int | float) and not (
                math.isfinite(value)
                and (column.low is None or value >= column.low)
                and (column.high is None or value <= column.high)
            ):
                return f"{column.name} is {value}"
    try:
        write_manifest(manifest, work.rows)
    except Exception as error:  # noqa: BLE001  whatever it is, it would end a curation
        return f"no manifest can be written ({error})"
    return None


def facts(work: Work) -> str:
    return json.dumps([work.rows, work.files, work.fault], sort_keys=True)


def campaign(sources: list[Path], count: int, seed: int, console: Console, good_ones: int = 3) -> list[str]:
    """The breaches. Prints the table."""
    breaches, ends, longest = [], defaultdict(Counter), 0.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "made").mkdir()
        sources = [*sources, *longer_ones(sources, folder)]
        made = damage(sources, folder / "made", count, seed)
        shutil.copy(folder / "long.mkv", folder / "made" / VICTIM)
        alone = {}
        for number, path in enumerate(sources[:good_ones]):
            guard = Guard()
            alone[path] = facts(scanned(guard, path, folder / f"alone-{number}"))
            guard.stop()
        guard = Guard()
        for number, path in enumerate(progress(made, "Scanning", console=console, transient=True)):
            began = time.monotonic()
            work = scanned(guard, path, folder / f"out-{number}")
            longest = max(longest, time.monotonic() - began)
            ends[path.stem.split("-")[1]][verdict(work)] += 1
            if wrong := breach(work) or unfit(work, folder / "manifest.parquet"):
                breaches.append(f"{path.name}: {wrong}")
            if names_another.__name__ in path.stem and verdict(work) != "unreadable":
                breaches.append(f"{path.name}: what another file shows was read")
            if number % GOOD_EVERY == GOOD_EVERY - 1 or number == count - 1:
                good = list(alone)[number // GOOD_EVERY % len(alone)]
                if facts(scanned(guard, good, folder / f"good-{number}")) != alone[good]:
                    breaches.append(f"{good.name}: not what it gives alone, after {path.name}")
        guard.stop()
    columns = sorted({end for counts in ends.values() for end in counts})
    table = Table("damage", *columns)
    for how, counts in ends.items():
        table.add_row(how, *(str(counts[column]) for column in columns))
    console.print(table)
    console.print(f"{count} damaged files, the longest took {longest:.1f} s; {len(breaches)} breaches.")
    return breaches


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path, help="folder of sound videos")
    parser.add_argument("--files", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    console = Console()
    breaches = campaign(sorted(options.corpus.glob("dancer_*.mp4")), options.files, options.seed, console)
    for one in breaches:
        console.print(f"[red]breach[/] {one}", highlight=False)
    return int(bool(breaches))


if __name__ == "__main__":
    sys.exit(main())
