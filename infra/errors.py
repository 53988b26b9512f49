"""Errors a user can act on. Everything else that escapes is a bug and keeps its traceback."""


class SteadyDancerError(Exception):
    """Names the thing that is wrong, what was expected, and (``fix``) what to do about it."""

    exit_code = 1

    def __init__(self, message: str, fix: str | None = None):
        super().__init__(message)
        self.fix = fix

    def __str__(self) -> str:
        message = super().__str__()
        return f"{message}\n{self.fix}" if self.fix else message

    def __reduce__(self):
        return type(self), (super().__str__(), self.fix)


class UsageError(SteadyDancerError):
    """The command or its config is wrong; nothing was started."""

    exit_code = 2


class CorruptArtifact(SteadyDancerError):
    """A committed artifact does not match its COMMIT.json."""
