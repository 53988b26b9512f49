"""Which file weights are, and that it stays the same one."""

import huggingface_hub
import pytest

from evaluation.backbones.registry import BACKBONES
from evaluation.backbones.weights import WeightFiles
from infra.config import load
from infra.errors import SteadyDancerError

(NAME, BACKBONE), *_ = ((name, b) for name, b in BACKBONES.items() if len(b.weights) == 1)
KEY = BACKBONE.weights[0].key


def files(source: str, digest: str | None = None) -> WeightFiles:
    pinned = [] if digest is None else [f"evaluate.weights_sha256.{KEY}='{digest}'"]
    return WeightFiles(load("demo", [f"evaluate.weights.{KEY}={source}", *pinned]).evaluate)


def test_a_file_of_the_hub_needs_a_revision(monkeypatch):
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *a, **k: pytest.fail("downloaded"))
    with pytest.raises(SteadyDancerError, match=r"names no revision(?s:.*)owner/name/file\.pth@REVISION"):
        files("owner/name/file.pth").of(BACKBONE)


def test_a_branch_is_looked_up_once_in_a_process(tmp_path, monkeypatch):
    asked = []

    def download(repository, file, revision):
        asked.append((repository, file, revision))
        path = tmp_path / f"{len(asked)}"
        path.write_bytes(b"weights")
        return str(path)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    digest = "9f6c6c7ae7ea21b1c0a6f3a9ae1a52a6cc8e7f63f6e7f9d9f9e0d0d7a2d1c6a0"
    with pytest.raises(SteadyDancerError, match="has sha256"):
        files("owner/name/folder/file.pth@main", digest).of(BACKBONE)
    with pytest.raises(SteadyDancerError, match="has sha256"):
        files("owner/name/folder/file.pth@main", digest).of(BACKBONE)
    assert asked == [("owner/name", "folder/file.pth", "main")]
