"""What the tests of `steadydancer animate` share: files, and stand-ins for estimator and model."""

from types import SimpleNamespace

import av
import numpy as np
import pytest
from known_answer import Stub, dance, picture
from PIL import Image

import steadydancer
from infra import commits, config
from model import video
from model.animation import command, rendering
from model.animation.parts import Chosen, Parts
from model.checkpoint import Found, build_model, save_model
from model.pose import command as pose_command
from model.transformer import model_config

SMALL = ["animate.steps=1", "animate.area=1536"]


def call(*arguments):
    return steadydancer._main(["animate", *(str(each) for each in arguments)])


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stage") / "stage3"
    trained = config.load("demo", ["clip.frames=9"])
    with commits.write(folder, "checkpoint", config=config.section_values(trained, "clip", "encode", "model")) as draft:
        save_model(build_model(trained.model, 0), draft / "model")
    return folder


@pytest.fixture
def stub(monkeypatch):
    made = Stub()
    for module in (command, pose_command):
        monkeypatch.setattr(module, "build_estimator", lambda settings: made)
    return made


@pytest.fixture
def fake(monkeypatch, stub):
    """A model that gives the picture it was shown, again and again; the calls to it."""
    calls = []

    def generate(model, encoders, reference, motion, prompt, settings, *, seed, preview, progress, **rest):
        progress(1, 1)
        calls.append({"motion": motion, "prompt": prompt, "seed": seed, "reference": reference})
        return np.stack([rendering.shown_reference(reference, (48, 32))] * len(motion.positive))

    def chosen(loaded, source):
        return Chosen(Found(source, model_config("tiny"), None), loaded.clip, loaded.encode, loaded.model, [])

    def opened(loaded, chosen, loras, device):
        return Parts(None, SimpleNamespace(ids={}), device, chosen.clip, "the model")

    monkeypatch.setattr(rendering, "generate", generate)
    monkeypatch.setattr(command, "choose", chosen)
    monkeypatch.setattr(command, "open_parts", opened)
    return calls


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "photo.png")
    dance(tmp_path / "dance.mp4", 24)
    return tmp_path


def pair(folder, positive=9, negative=9, size=(96, 64)):
    for name, count in (("positive", positive), ("negative", negative)):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            colour = (0, 0, 200 - 10 * number) if name == "positive" else (200, 0, 0)
            Image.fromarray(np.full((*size, 3), colour, np.uint8)).save(
                folder / name / f"{number:04d}.jpg", quality=100
            )
    picture(folder / "ref_image.png")
    (folder / "prompt.txt").write_text("Somebody spins.\n")
    return folder


def shots(path):
    return [image for _, image in video.frames(path)]


def comment(path):
    with av.open(str(path)) as container:
        return container.metadata.get("comment")
