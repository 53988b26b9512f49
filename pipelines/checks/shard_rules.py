"""The rules that shards must keep, over a table of what is really in them. No picture is decoded for it."""

import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.checks.rules import View
from pipelines.dataset import facts

if TYPE_CHECKING:
    import pyarrow as pa

MEMBERS = ("json", "mp4", "pose.npz", "txt")


def shards_view(folder: Path, rows: "pa.Table", frames: int) -> View:
    """A row for each sample found under ``folder``, and for each kept clip that was not found there.

    ``rows`` is the manifest. Needs the memory of one sample, and of one shard's rows.
    """
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc

    kept = rows.filter(pc.equal(rows["verdict"], "kept")).combine_chunks()
    row_of = {clip: number for number, clip in enumerate(kept["clip_id"].to_pylist())}
    lines, found = [], set()
    for shard in sorted(folder.iterdir()) if folder.is_dir() else ():
        samples = list(_samples(shard))
        numbers = [row_of[name] for name, _ in samples if name in row_of]
        told = {row["clip_id"]: row for row in kept.take(pa.array(numbers, pa.int64())).to_pylist()}
        for name, sample in samples:
            lines.append({"clip_id": name, **_compared(sample, told.get(name), name in found, frames)})
            found.add(name)
    missing = [{"clip_id": name, RULES[0]: False} for name in row_of if name not in found]
    # what is not there breaks this one rule and no other
    table = pd.DataFrame([*lines, *missing], columns=["clip_id", *RULES]).astype(dict.fromkeys(RULES, object))
    view = View("shards", table, key="clip_id")
    for rule in RULES:
        view.holds(rule, table[rule].where(table[rule].notna(), True))
    return view


RULES = (
    "shards: every kept clip is in one",
    "shards: nothing is in them but the kept clips",
    "shards: every clip is in them once",
    "shards: a clip lies where the manifest says",
    "shards: a clip has the SHA-256 that the manifest says",
    "shards: its members lie where the manifest says",
    "shards: a clip has its mp4, pose.npz, txt and json, each once",
    "shards: the mp4 has the configured frames",
    "shards: the mp4 has the size of its bucket",
    "shards: pose.npz holds finite keypoints (T, 133, 2) and scores (T, 133) of the configured frames",
    "shards: the txt is the manifest's caption",
    "shards: the json agrees with the manifest",
)


def _samples(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, facts) of each run of members of one name. What is no tar, or ends too early, is a sample of that name."""
    try:
        with tarfile.open(path, "r:") as tar, path.open("rb") as raw:
            run: list[tarfile.TarInfo] = []
            for info in tar:
                if run and run[0].name.split(".", 1)[0] != info.name.split(".", 1)[0]:
                    yield _sample(path, raw, run)
                    run = []
                run.append(info)
            if run:
                yield _sample(path, raw, run)
            # tarfile takes zeros, or a header cut off, for the end: what is beyond must be padding
            raw.seek(tar.offset)
            if raw.read().strip(b"\0"):
                yield path.name, {}
    except (tarfile.TarError, EOFError):
        yield path.name, {}


def _sample(path: Path, raw, run: list[tarfile.TarInfo]) -> tuple[str, dict[str, Any]]:
    """Where the members lie and what they say of themselves."""
    start, last = run[0].offset, run[-1]
    end = last.offset_data + -(-last.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    raw.seek(start)
    content = raw.read(end - start)
    members, contents = [], {}
    for info in run:
        suffix = info.name.split(".", 1)[1] if "." in info.name else ""
        members.append({"suffix": suffix, "offset": info.offset_data, "bytes": info.size})
        contents[suffix] = content[info.offset_data - start : info.offset_data - start + info.size]
    place = {"shard": path.name, "offset": start, "bytes": end - start}
    digest = hashlib.sha256(content).hexdigest()
    mp4_frames, size = _mp4(contents.get("mp4", b""))
    return run[0].name.split(".", 1)[0], {
        "place": place,
        "sha256": digest,
        "members": members,
        "mp4_frames": mp4_frames,
        "size": size,
        "pose_frames": _pose_frames(contents.get("pose.npz", b"")),
        "txt": contents.get("txt"),
        "json": contents.get("json"),
    }


def _compared(sample: dict[str, Any], row: dict[str, Any] | None, again: bool, frames: int) -> dict[str, bool]:
    """What each rule says of a sample and its row in the manifest."""
    if row is None or not sample:
        return {RULES[1]: False}
    suffixes = sorted(member["suffix"] for member in sample["members"])
    caption = None if sample["txt"] is None else sample["txt"].decode("utf-8", "replace")
    truths = (
        True,
        True,
        not again,
        all(row[name] == value for name, value in sample["place"].items()),
        row["sha256"] == sample["sha256"],
        row["members"] == sample["members"],
        suffixes == list(MEMBERS),
        sample["mp4_frames"] == frames,
        row["bucket"] == sample["size"],
        sample["pose_frames"] == frames,
        bool(caption and caption.strip()) and caption == row["caption"],
        _json(sample["json"]) == json.loads(json.dumps(facts(row))),
    )
    return dict(zip(RULES, truths, strict=True))


def _mp4(content: bytes) -> tuple[int | None, str | None]:
    """Packets of the video, one of each frame, and its size as HEIGHTxWIDTH."""
    import av

    try:
        with av.open(io.BytesIO(content), format="mp4") as container:
            stream = container.streams.video[0]
            packets = sum(packet.size > 0 for packet in container.demux(stream))
            return packets, f"{stream.height}x{stream.width}"
    except (av.FFmpegError, IndexError, ValueError):
        return None, None


def _pose_frames(content: bytes) -> int | None:
    """Length of a pose track; None where the file breaks what :class:`model.pose.tracks.PoseTrack` promises."""
    from model.pose.tracks import InvalidPose, read_pose_file

    try:
        return len(read_pose_file(io.BytesIO(content)).track)
    except (InvalidPose, zipfile.BadZipFile):
        return None


def _json(content: bytes | None) -> Any:
    try:
        return json.loads(content or b"")
    except ValueError:
        return None
