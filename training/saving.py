"""When a checkpoint is written, and what is done where it cannot be."""

from training.checkpoint import Checkpoints, NotSaved, Progress


class Saving:
    """Of one run. Every method is called by all ranks together."""

    def __init__(self, checkpoints: Checkpoints, engine, progress: Progress, messages: list[str]):
        self.checkpoints, self.engine, self.progress, self.messages = checkpoints, engine, progress, messages
        self._begun: int | None = progress.step or None
        """The step of the last checkpoint, unless it could not be written."""
        self._failed: list[NotSaved] = []
        """Those in a row that could not be."""

    def save(self, wait: bool = False) -> None:
        """Begins a checkpoint of the present step, unless there is one, and with ``wait`` sees it done.

        One that could not be written is told, and the next tried; a second one in a row, or one that is waited for,
        raises NotSaved.
        """
        self.settle()
        if self._begun != self.progress.step:
            self._begun = self.progress.step
            try:
                self.checkpoints.save(self.engine, self.progress)
            except NotSaved as error:
                self._tell(error)
        if wait:
            self.settle()
        if self._failed and (wait or len(self._failed) > 1):
            raise self._failed[-1]

    def settle(self) -> None:
        """Waits for the checkpoint that is being written, and says so if it could not be."""
        try:
            self.checkpoints.finish()
        except NotSaved as error:
            self._tell(error)
        else:
            if self._begun is not None:
                self._failed = []

    def _tell(self, error: NotSaved) -> None:
        self._begun = None
        self._failed.append(error)
        self.messages.append(f"{error} Training goes on and will try again.")
