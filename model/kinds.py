"""Which model the tensors of a checkpoint are of, and what is to be told where it is another than expected."""

from pathlib import Path

from model.shards import WrongCheckpoint, short
from model.transformer import BASE_CHANNELS, NEW_PARTS

STEADYDANCER, BASE = "SteadyDancer", "Wan 2.1 I2V"
OTHERS = {0: "no Wan transformer", 16: "a Wan text-to-video model", 48: "Wan 2.2 5B, with 48 latent channels"}


def compare(source: Path, kind: str, expected: dict[str, tuple[int, ...]], found: dict[str, tuple[int, ...]]) -> None:
    """Raises WrongCheckpoint unless the tensors ``found`` in ``source`` are those ``expected`` of a model of ``kind``.

    Both are shapes by diffusers names. The error lists what is missing, extra and mis-shaped, and says what it is.
    """
    missing, extra = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    shapes = [
        f"{n} {found[n]} (not {expected[n]})" for n in sorted(expected.keys() & found.keys()) if found[n] != expected[n]
    ]
    is_kind = kind_of(found)
    if is_kind == kind and not (missing or extra or shapes):
        return
    kinds = (("missing", missing), ("extra", extra), ("of another shape", shapes))
    listed = "".join(f"\n{len(names)} {what}: {short(names)}" for what, names in kinds if names)
    found_instead = "" if is_kind == kind else f" It is {is_kind}."
    fix = f"Give a checkpoint of {kind} of the size in config.json, with {BASE_CHANNELS} input channels."
    if source.is_file() and not source.with_name("config.json").exists():
        fix = "Without a config.json beside it a file is taken for a wan-14b. Put the config.json of its model there."
    if (kind, is_kind) == (STEADYDANCER, BASE):
        fix = (
            "This is a base Wan 2.1 I2V checkpoint, without SteadyDancer's parts: give SteadyDancer's own weights. "
            "To train from it set model.base."
        )
    raise WrongCheckpoint(f"{source} does not hold the tensors of {kind}.{found_instead}{listed}", fix)


def kind_of(found: dict[str, tuple[int, ...]]) -> str:
    """What model these tensors are of, by their names and the input channels."""
    if any(name.startswith(NEW_PARTS) for name in found):
        return STEADYDANCER
    channels = [*found.get("patch_embedding.weight", ()), 0, 0][1]
    if channels != BASE_CHANNELS:
        return OTHERS.get(channels, f"a Wan transformer with {channels} input channels")
    image = any(name.startswith("condition_embedder.image_embedder.") for name in found)
    return BASE if image else "Wan 2.2 I2V, which has no image embedder"
