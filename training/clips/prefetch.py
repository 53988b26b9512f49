"""What the next steps need is made in a thread while the present one computes."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, Self, TypeVar

Made = TypeVar("Made")


class Prefetch(Generic[Made]):
    """``make(step)``, called ahead of time for the ``ahead`` steps after the one that was asked for.

    ``make`` runs for one step at a time in a thread of its own (``ahead=0``: in the caller's), so it must not draw from
    a generator that others draw from. The caller is one thread.
    """

    def __init__(self, make: Callable[[int], Made], ahead: int):
        self._make, self._ahead = make, ahead
        self._thread = ThreadPoolExecutor(1, "prefetch") if ahead else None
        self._made: dict[int, Future[Made]] = {}
        self.waited_s = 0.0
        """Seconds that the last :meth:`get` took."""

    def get(self, step: int) -> Made:
        """``make(step)``. What it raises is raised here, in its own step and in no other.

        What was made ahead of another step, before a roll-back say, is dropped.
        """
        started = time.perf_counter()
        try:
            if self._thread is None:
                return self._make(step)
            wanted = range(step, step + self._ahead + 1)
            for other in [made for made in self._made if made not in wanted]:
                self._made.pop(other).cancel()
            for upcoming in wanted:
                if upcoming not in self._made:
                    self._made[upcoming] = self._thread.submit(self._make, upcoming)
            return self._made.pop(step).result()
        finally:
            self.waited_s = time.perf_counter() - started

    def close(self) -> None:
        """Ends the thread, after the step that it is making."""
        if self._thread is not None:
            self._thread.shutdown(wait=True, cancel_futures=True)
        self._made.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self.close()
