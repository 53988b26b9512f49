"""Captions of clips: their own text, or a vision-language model's, or what the scores say of the motion."""

import hashlib
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from infra.schema import Caption
from pipelines.clips import motion_caption
from pipelines.vision_language import PROMPT, AskAgain, VisionLanguageModel, plain
from pipelines.work.stage import Row

LONGEST_TEXT = 4000
"""Characters of a source's own text that are kept."""

LEDGER = "captions.jsonl"
BATCH = 256
"""Clips that are asked about between two looks at the budget and at whether the endpoint still answers."""

FIRST_PAUSE = 1.0
"""Seconds before failed clips are asked about again, and after a batch without any answer; doubled from time to time,
up to a minute."""

BUDGET_USED = "the budget is used up"
TOLD = 5


@dataclass
class Captions:
    """``texts``: clip_id -> (text, from). ``fallen``: clip_id -> why it has no caption of the model that was asked for.
    ``requests`` and ``tokens`` are those of this run."""

    texts: dict[str, tuple[str, str]] = field(default_factory=dict)
    fallen: dict[str, str] = field(default_factory=dict)
    requests: int = 0
    tokens: int = 0

    def told(self) -> list[str]:
        """How many clips were described from their motion instead, and why: the most frequent reasons."""
        counts = sorted(Counter(self.fallen.values()).items(), key=lambda item: (-item[1], item[0]))
        rest = sum(count for _, count in counts[TOLD:])
        counts = counts[:TOLD] + [("other reasons", rest)] * (rest > 0)
        return [f"{count} x described from its motion: {why}" for why, count in counts]


def caption(
    rows: Iterable[Row],
    settings: Caption,
    frames: Callable[[Row], np.ndarray],
    ledger_folder: Path,
    progress: Callable[[str], None] | None = None,
    *,
    patience: float = 1.0,
) -> Captions:
    """A caption for every row, of the first of these that there is: ``sidecar`` (the text beside the source),
    ``table_caption`` (its metadata), the model at ``settings.endpoint``, the motion by the scores.

    ``frames`` gives a row's pictures (T, H, W, 3) uint8; it is called from ``settings.concurrency`` threads, and only
    for clips the model is asked about. ``progress`` is called with the id of each clip that is done. ``patience`` times
    all pauses.

    Every answer is kept in ``ledger_folder`` at once, by clip, model, prompt and settings: what was answered is never
    asked again. Budgets hold over all runs with one ledger, model, prompt and settings; the first clips by id get them.
    The outcome follows from the answers, whatever the concurrency. Raises EndpointError where asking again is no use.
    """
    captions, left = Captions(), []
    for row in sorted(rows, key=lambda row: row["clip_id"]):
        own = ((plain(row.get(key) or "")[:LONGEST_TEXT], name) for key, name in _OWN)
        if text := next((pair for pair in own if pair[0]), None):
            captions.texts[row["clip_id"]] = text
        else:
            left.append(row)
    if settings.endpoint is not None and left:
        _Asking(settings, frames, _Ledger(ledger_folder, settings), captions, progress, patience).all(left)
    for row in left:
        captions.texts.setdefault(row["clip_id"], (motion_caption(row), "motion"))
    return captions


_OWN = (("sidecar", "sidecar"), ("table_caption", "metadata"))


class _Ledger:
    """One line per request, appended when its answer is there. A line that a crash tore counts as none."""

    def __init__(self, folder: Path, settings: Caption):
        asked = settings.model_dump(include={"model", "frames", "side", "max_words"}) | {"prompt": PROMPT}
        self.asked = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:20]
        self.path = Path(folder) / LEDGER
        self.texts: dict[str, str] = {}
        self.requests = self.tokens = 0
        self.lock = threading.Lock()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        content = self.path.read_bytes() if self.path.exists() else b""
        for line in content.split(b"\n"):
            try:
                entry = json.loads(line)
                if entry["asked"] == self.asked:
                    self._count(entry["clip"], entry["text"], entry["tokens"])
            except (ValueError, KeyError, TypeError):
                continue
        self.torn = not content.endswith(b"\n") and bool(content)

    def _count(self, clip: str, text: str | None, tokens: int) -> None:
        self.tokens += tokens
        self.requests += 1
        if text is not None:
            self.texts[clip] = text

    def add(self, clip: str, text: str | None, tokens: int, said: str = "") -> None:
        entry = {"clip": clip, "asked": self.asked, "text": text, "tokens": tokens, "said": said}
        with self.lock, self.path.open("ab") as file:
            file.write(b"\n" * self.torn + json.dumps(entry).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
            self.torn = False
            self._count(clip, text, tokens)


@dataclass
class _Asking:
    settings: Caption
    frames: Callable[[Row], np.ndarray]
    ledger: _Ledger
    captions: Captions
    progress: Callable[[str], None] | None
    patience: float

    def __post_init__(self):
        self.model = VisionLanguageModel(self.settings)
        self.quiet_until = 0.0
        self.unheard = 0
        """Batches in a row in which the endpoint did not answer once."""
        self.stopped = threading.Event()

    def all(self, rows: list[Row]) -> None:
        """Rounds: all clips once, then those without an answer again. Which clips a budget reaches is so decided by
        their order and the answers, not by which thread is faster."""
        before = self.ledger.requests, self.ledger.tokens
        asked = {row["clip_id"] for row in rows if row["clip_id"] not in self.ledger.texts}
        waiting = [row for row in rows if row["clip_id"] in asked]
        with ThreadPoolExecutor(self.settings.concurrency) as pool:
            try:
                for turn in range(self.settings.retries + 1):
                    if turn and waiting:
                        self._pause(turn)
                    waiting = self._round(pool, waiting)
            finally:
                self.stopped.set()
                pool.shutdown(wait=True, cancel_futures=True)
        for row in rows:
            clip = row["clip_id"]
            if clip in self.ledger.texts:
                self.captions.texts[clip] = self.ledger.texts[clip], self.settings.model
                self.captions.fallen.pop(clip, None)
            if self.progress and (clip not in asked or clip in self.captions.fallen):
                self.progress(clip)
        self.captions.requests = self.ledger.requests - before[0]
        self.captions.tokens = self.ledger.tokens - before[1]

    def _pause(self, times: int) -> None:
        self.stopped.wait(min(60.0, FIRST_PAUSE * 2 ** (times - 1)) * self.patience)

    def _round(self, pool: ThreadPoolExecutor, rows: list[Row]) -> list[Row]:
        """Asks about each of ``rows`` once; those that are to be asked about again."""
        again = []
        while rows:
            batch = rows[: self._affordable()]
            if not batch or self.unheard > self.settings.retries:
                why = f"{self.settings.endpoint} no longer answers" if batch else BUDGET_USED
                self.captions.fallen |= {row["clip_id"]: why for row in rows}
                return []
            rows = rows[len(batch) :]
            failures = []
            for row, failure in zip(batch, pool.map(self._ask, batch), strict=True):
                failures.append(failure)
                if self.progress and row["clip_id"] in self.ledger.texts:
                    self.progress(row["clip_id"])
            again += [row for row, failure in zip(batch, failures, strict=True) if failure]
            self.unheard = self.unheard + 1 if all(failure and failure.silent for failure in failures) else 0
            if self.unheard and rows:
                self._pause(self.unheard)
        return again

    def _affordable(self) -> int:
        """How many requests may be sent now."""
        counts = [BATCH]
        if self.settings.budget_requests is not None:
            counts.append(self.settings.budget_requests - self.ledger.requests)
        if self.settings.budget_tokens is not None:
            counts.append((self.settings.budget_tokens - self.ledger.tokens) // self.model.tokens_at_most())
        return max(0, min(counts))

    def _ask(self, row: Row) -> AskAgain | None:
        """Why to ask about this clip again."""
        clip = row["clip_id"]
        try:
            question = self.model.question(self.frames(row), row["frames"] / row["fps"])
        except Exception as error:  # noqa: BLE001 it is this clip's, and it is told
            self.captions.fallen[clip] = f"its pictures cannot be read ({type(error).__name__}: {error})"
            return None
        while (quiet := self.quiet_until - time.monotonic()) > 0 and not self.stopped.wait(quiet):
            pass
        if self.stopped.is_set():
            return None
        try:
            answer = self.model.ask(question)
        except AskAgain as error:
            self.quiet_until = max(self.quiet_until, time.monotonic() + error.wait * self.patience)
            self.ledger.add(clip, None, error.tokens, said=str(error))
            self.captions.fallen[clip] = f"the model gave no caption, last: {error}"
            return error
        except BaseException:
            self.stopped.set()
            raise
        self.ledger.add(clip, answer.text, answer.tokens)
        return None
