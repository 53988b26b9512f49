"""What `steadydancer animate` is asked for, checked before anything is read."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from infra import commits
from infra.errors import SteadyDancerError, UsageError


class Lora(NamedTuple):
    path: Path
    scale: float


class Request(NamedTuple):
    """Every image by every driving, or every pair, with every seed."""

    out: Path
    checkpoint: str
    images: Sequence[Path] = ()
    drivings: Sequence[Path] = ()
    pairs: Sequence[Path] = ()
    prompt: str | None = None
    """None: a pair's own"""
    seeds: Sequence[int] = (0,)
    people: int = 1
    loras: Sequence[Lora] = ()
    preview: bool = False
    provenance: bool = True

    @property
    def several(self) -> bool:
        """Whether ``out`` is a folder."""
        return max(map(len, (self.images, self.drivings, self.pairs, self.seeds))) > 1

    def check(self) -> None:
        """Makes the folder for ``out``.

        Raises UsageError for what does not go together, and SteadyDancerError where ``out`` cannot be.
        """
        if self.pairs and (self.images or self.drivings):
            raise UsageError(
                "--pair brings its own picture and driving, without --image and --driving.", "Give one or the other."
            )
        if bool(self.images) != bool(self.drivings):
            raise UsageError("--image and --driving go together.", "Give at least one of each, or --pair.")
        if not self.images and not self.pairs:
            raise UsageError("nothing to animate.", "Give --image and --driving, or --pair.")
        if self.pairs and self.people > 1:
            raise UsageError("--people: a pair's pictures show whom they show.", "Leave it out.")
        for option, given in (
            ("--image", [path.resolve() for path in self.images]),
            ("--driving", [path.resolve() for path in self.drivings]),
            ("--pair", [path.resolve() for path in self.pairs]),
            ("--seed", self.seeds),
            ("--lora", [path.resolve() for path, _ in self.loras]),
        ):
            if len(set(given)) < len(given):
                raise UsageError(f"{option}: the same is given twice.", "Give each once.")
        mp4 = self.out.suffix.lower() == ".mp4"
        if self.several and mp4:
            raise UsageError(f"--out {self.out}: several videos need a folder.", "Give a name that is not an mp4's.")
        if not self.several and not mp4:
            raise UsageError(f"--out {self.out}: the video is written as mp4.", "End the name in .mp4.")
        if self.out.exists() and self.out.is_dir() != self.several:
            what = "a file, and several videos need a folder" if self.several else "a folder"
            raise SteadyDancerError(f"{self.out} is {what}.", "Choose another --out.")
        self.refuse_input(self.out)
        folder = self.out if self.several else self.out.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with commits.draft(self.out / "grid.mp4" if self.several else self.out):
                pass
        except OSError as error:
            raise SteadyDancerError(f"{folder} cannot be written: {error.strerror}.", "Choose another --out.") from None

    def refuse_input(self, path: Path) -> None:
        """Raises UsageError where ``path``, which is to be written, is something that was handed in."""
        given = (*self.images, *self.drivings, *(lora.path for lora in self.loras))
        if path.resolve() in {each.resolve() for each in given}:
            raise UsageError(f"{path} is one of the files handed in, and would be replaced.", "Choose another --out.")


def lora_of(text: str) -> Lora:
    """``FILE`` or ``FILE:SCALE``. Raises UsageError for a file that is not there and a scale that is no number."""
    path, _, tail = text.rpartition(":")
    scale = "1" if not path or Path(text).exists() else tail
    path = Path(text if not path or Path(text).exists() else path)
    try:
        number = float(scale)
    except ValueError:
        number = math.nan
    if not path.exists():
        raise UsageError(f"--lora {text}: {path} does not exist.", "Give FILE or FILE:SCALE.")
    if not math.isfinite(number):
        raise UsageError(f"--lora {text}: {scale} is no scale.", "Give a number after the last colon, such as 0.8.")
    return Lora(path, number)
