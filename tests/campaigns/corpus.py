"""The rendered corpus and copies of its dancers through curation, with real poses: every file must get its label.

    python tests/campaigns/corpus.py [--corpus DIR] [--dancers 8]

Of every good dancer there are three copies more: at half the bit rate, at three quarters of the size, and with black
bars. Each must be found to be a near-duplicate of its original, and nothing else may be. Exit 1 otherwise.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import yaml

from infra import commits, config
from infra.chain import Step, run_chain
from model import video
from pipelines import gates
from pipelines.dataset import manifest_of
from pipelines.sample.corpus import write_sample


def half_bit_rate(source: Path, target: Path) -> None:
    """The first quality step at which the file has at most half the bytes."""
    fps, frames = video.probe(source).fps, [image for _, image in video.frames(source)]
    for crf in range(20, 52, 2):
        video.write(target, frames, fps, crf=crf)
        if target.stat().st_size <= source.stat().st_size / 2:
            return


def three_quarters(source: Path, target: Path) -> None:
    info = video.probe(source)
    size = tuple(2 * round(side * 0.375) for side in (info.height, info.width))
    video.write(target, (video.resize(image, size) for _, image in video.frames(source)), info.fps)


def letterboxed(source: Path, target: Path) -> None:
    info = video.probe(source)
    bar = 2 * round(info.height * 0.06)
    barred = (np.pad(image, ((bar, bar), (0, 0), (0, 0))) for _, image in video.frames(source))
    video.write(target, barred, info.fps)


COPIES = {"half_bit_rate": half_bit_rate, "three_quarters": three_quarters, "letterboxed": letterboxed}


def demo_gates_but_for_bars(folder: Path) -> Path:
    """The copies with bars are to be found as copies, not for their bars."""
    content = yaml.safe_load((gates.PRESETS / "demo.yaml").read_text())
    entries = content["gates"] if isinstance(content, dict) else content
    entries[:] = [entry for entry in entries if entry["column"] != "letterbox"]
    path = folder / "gates.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def curated(folder: Path, sources: Path, *overrides: str) -> list[dict]:
    loaded = config.load("demo", [f"work={folder}", f"sources={sources}", *overrides])
    steps = [Step("curate", "pipelines.curate:curate", lambda w: w.dataset)]
    return manifest_of(run_chain(loaded, steps)[0])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, help="a folder made by `steadydancer sample`; default: rendered anew")
    parser.add_argument("--dancers", type=int, default=8)
    options = parser.parse_args()
    folder, wrong = Path(tempfile.mkdtemp(prefix="corpus-")), []
    try:
        if (corpus := options.corpus) is None:
            corpus = folder / "corpus"
            write_sample(corpus, config.load("demo", [f"sample.dancers={options.dancers}"]).sample, 0)
        labels = json.loads((commits.read(corpus).path / "labels.json").read_text())

        became = {}
        for row in curated(folder / "labels", corpus / "videos"):
            became.setdefault(row["source"], Counter())[row["reason"] or "kept"] += 1
        for name, label in labels.items():
            wanted = label["reason"] or "kept"
            if set(became.get(name, ())) != {wanted}:
                wrong.append(f"{name}: labelled {wanted}, became {dict(became.get(name, {}))}")
        right = len(labels) - len(wrong)
        print(f"{right} of {len(labels)} files judged as labelled, in {sum(map(Counter.total, became.values()))} rows")

        copies = folder / "copies"
        copies.mkdir()
        originals = sorted(corpus.glob("videos/dancer_*.mp4"))[: options.dancers]
        for source in originals:
            shutil.copy(source, copies)
            for name, copy in COPIES.items():
                copy(source, copies / f"{source.stem}.{name}.mp4")
        rows = {
            row["source"]: row
            for row in curated(folder / "dupes", copies, f"curate.gates={demo_gates_but_for_bars(folder)}")
        }
        found = Counter()
        for source in originals:
            original = rows[source.name]
            if original["verdict"] != "kept":
                wrong.append(f"{source.name}: {original['reason']}")
            for name in COPIES:
                copy = rows[f"{source.stem}.{name}.mp4"]
                if copy["reason"] == "duplicate" and copy["group"] == original["clip_id"]:
                    found[name] += 1
                else:
                    wrong.append(f"{copy['source']}: {copy['reason'] or 'kept'}, group {copy['group']}")
        for name in COPIES:
            print(f"near-duplicates {name:<16}{found[name]} of {len(originals)}")
        for line in wrong:
            print(f"WRONG {line}")
        return 1 if wrong else 0
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
