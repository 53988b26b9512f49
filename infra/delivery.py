"""Sends what waits in an outbox to MLflow, in a thread, while other work goes on."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from infra.errors import SteadyDancerError
from infra.mlflow_store import Away, Refused, Store
from infra.outbox import DAMAGED, Entry, Journal, Outbox


class Delivery:
    """Inside ``with`` a thread sends new entries every ``every`` seconds. Where MLflow is away it tries again after
    ``pauses[0]`` seconds, then twice as many, and so on up to ``pauses[1]``. At the end of the block what is left has
    ``patience`` seconds; what then still waits is said, and stays for the next delivery. ``away`` is whether MLflow was
    when last asked, which may be set before the block by who asked.
    """

    def __init__(
        self,
        outbox: Outbox,
        store: Store,
        say: Callable[[str], None],
        *,
        every: float = 1.0,
        pauses: tuple[float, float] = (1.0, 30.0),
        patience: float = 10.0,
    ):
        self._outbox, self._store, self._say = outbox, store, say
        self._every, self._pauses, self._patience = every, pauses, patience
        self._began = time.time_ns()
        self._refused: set[str] = set()
        self._thread: threading.Thread | None = None
        self._wake, self._ending, self._over = threading.Event(), threading.Event(), threading.Event()
        self._passes = threading.Condition()
        self._begun = self._ended = 0
        self.away = False

    def __enter__(self) -> "Delivery":
        self._thread = threading.Thread(target=self._go_on, name="mlflow-delivery", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._ending.set()
        self._wake.set()
        self._thread.join(self._patience)
        self._over.set()  # a request that is still under way may end, and no other begins
        if waiting := self._outbox.count():
            what = "is away" if self.away else "is slow"
            self._say(
                f"MLflow at {self._store.uri} {what}: {waiting} entries wait in {self._outbox.folder}; "
                "the next command on this work folder delivers them."
            )

    def flush(self) -> None:
        """Waits until what is there now was sent, for ``patience`` seconds at most; not at all where MLflow is away."""
        with self._passes:
            wanted = self._begun + 1
            self._wake.set()
            self._passes.wait_for(lambda: self._ended >= wanted or self.away, self._patience)

    def deliver(self, *journals: Journal) -> None:
        """Sends what waits in these journals (none: in all), in order. Raises Away at the first that cannot be sent.

        Files may have a store of their own, for which nothing else waits: those that cannot be sent come last.
        """
        postponed: dict[str, Away] = {}
        left: set[str] = set()  # segments at what was postponed: more of them is for the next time
        for journal in journals or self._outbox.journals():
            for batch in journal.waiting(dead_before=self._began):
                if self._over.is_set():
                    return
                if batch.segment in left:
                    continue
                try:
                    sent = self._send(journal, batch.entries)
                except Away as reason:
                    entry = batch.entries[0]
                    if entry.kind != "artifact" or not self._store.answers():
                        raise
                    if entry.values["file"] in postponed:
                        left.add(batch.segment)
                        continue
                    postponed[entry.values["file"]] = reason
                    journal.postpone(entry)
                    sent = []
                journal.passed(batch)
                journal.drop(sent)
        if postponed:
            raise next(iter(postponed.values()))

    def _send(self, journal: Journal, entries: list[Entry]) -> list[Entry]:
        """One request; where MLflow refuses it, halves of it, down to the values that it will not take. Returns what
        was sent."""
        if entries[0].kind == DAMAGED:
            self._set_aside(journal, entries[0], "this line is damaged: its writer was killed, or the disk was full")
            return []
        try:
            self._store.send(journal, entries)
        except Refused as refusal:
            if len(parts := _halves(entries)) == 2:
                return [entry for part in parts for entry in self._send(journal, part)]
            self._set_aside(journal, entries[0], str(refusal))
            return []
        return entries

    def _set_aside(self, journal: Journal, entry: Entry, reason: str) -> None:
        place = journal.refuse(entry, reason)
        if journal.name not in self._refused:
            self._refused.add(journal.name)
            self._say(f"An entry of {journal.name} cannot be told to MLflow ({reason}). All such are kept in {place}.")

    def _go_on(self) -> None:
        pause = 0.0
        while not self._over.is_set():
            self._wake.clear()  # before asking: who ends this sets `_ending` first
            last = self._ending.is_set()
            with self._passes:
                self._begun += 1
            try:
                self.deliver()
            except (Away, SteadyDancerError, OSError) as error:
                pause = min(max(2 * pause, self._pauses[0]), self._pauses[1])
                self._now(True, error)
            else:
                pause = 0.0
                self._now(False)
            if last:
                return
            self._wake.wait(pause or self._every)

    def _now(self, away: bool, reason: Exception | None = None) -> None:
        if away and not self.away:
            self._say(
                f"MLflow at {self._store.uri} does not answer ({reason}). The work goes on; what it logs waits in "
                f"{self._outbox.folder}."
            )
        elif self.away and not away:
            self._say(f"MLflow at {self._store.uri} answers again and has been told what waited.")
        with self._passes:
            self.away, self._ended = away, self._begun
            self._passes.notify_all()


def _halves(entries: list[Entry]) -> list[list[Entry]]:
    """Two parts of several entries, or of one with several values; else the one."""
    if len(entries) == 1 and entries[0].kind in ("metrics", "params", "tags"):
        (entry,) = entries
        names = list(entry.values)
        cuts = names[: len(names) // 2], names[len(names) // 2 :]
        return [[replace(entry, values={n: entry.values[n] for n in cut})] for cut in cuts if cut]
    middle = len(entries) // 2
    return [part for part in (entries[:middle], entries[middle:]) if part]
