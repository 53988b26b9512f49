"""Scores that need weights or a function, against networks whose answer is known."""

import hashlib
import math

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from infra.errors import SteadyDancerError, UsageError
from infra.schema import Curate
from model.weights import WeightsNotFound
from pipelines.pose.appearance import stages
from pipelines.pose.window import sampled
from pipelines.work.stage import run

IMAGES = np.random.default_rng(0).integers(0, 256, (20, 24, 16, 3), np.uint8)


def measured(images=IMAGES, **settings):
    (row,) = run(stages(Curate(**settings)), {"images": images})
    return {column: value for column, value in row.items() if column != "images"}


def test_without_weights_or_function_there_is_nothing_to_do():
    assert stages(Curate()) == ()


# aesthetic

MLP = [(8, 1024), (1024, 128), (128, 64), (64, 16), (16, 1)]


def head(path, shapes, places=(0, 2, 4, 6, 7)):
    """Random layers; dropout lies between those of the published head, and their names count it."""
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(1)
    tensors = {}
    for place, (wide, narrow) in zip(places, shapes, strict=False):
        tensors[f"layers.{place}.weight"] = torch.randn(narrow, wide) / wide**0.5
        tensors[f"layers.{place}.bias"] = torch.randn(narrow)
    save_file(tensors, path)
    return tensors


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A tiny random CLIP, text half and all, as the published ones are."""
    import torch
    from transformers import CLIPConfig, CLIPModel

    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(0)
    config = CLIPConfig(
        text_config={**small, "vocab_size": 16, "projection_dim": 8},
        vision_config={**small, "image_size": 16, "patch_size": 8, "projection_dim": 8},
        projection_dim=8,
    )
    folder = tmp_path_factory.mktemp("clip")
    CLIPModel(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("shapes", [MLP, [(8, 1)]])
def test_the_aesthetic_score_is_the_head_of_clips_features_and_the_mean_over_the_frames(tmp_path, clip, shapes):
    import torch
    from transformers import CLIPModel
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    path = tmp_path / "head.safetensors"
    tensors = list(head(path, shapes).values())
    pixels = CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size=16)(
        list(sampled(IMAGES, 8)), return_tensors="pt"
    )["pixel_values"]
    model = CLIPModel.from_pretrained(clip).eval()
    with torch.no_grad():
        value = model.visual_projection(model.vision_model(pixel_values=pixels).pooler_output)
        value = value / value.norm(dim=-1, keepdim=True)
        for weight, bias in zip(tensors[::2], tensors[1::2], strict=True):
            value = value @ weight.T + bias
    row = measured(aesthetic=str(path), aesthetic_clip=str(clip))
    assert row == {"aesthetic": pytest.approx(float(value.mean()), abs=1e-4)}
    assert value.std() > 1e-3


@pytest.mark.parametrize(("height", "width"), [(40, 64), (64, 40), (33, 33)])
def test_pictures_go_to_clip_as_its_own_processor_gives_them(height, width):
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    from pipelines.pose.aesthetic import _clip_pixels

    y, x = np.mgrid[:height, :width]
    image = np.stack([3 * x, 3 * y, 128 + 60 * np.sin(x / 5)], -1).astype(np.uint8)
    wanted = CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size=16)(image, return_tensors="pt")
    # the processor rounds the smaller picture to whole shades: 1/255 by CLIP's deviation
    assert (_clip_pixels(image[None], 16) - wanted["pixel_values"]).abs().max() < 1.01 / 255 / 0.26


def test_another_head_is_refused_with_its_shapes(tmp_path, clip):
    path = tmp_path / "head.safetensors"
    for shapes in ([(8, 3)], [(8, 1024), (1024, 1)], [(8, 1024), (512, 128), (128, 64), (64, 16), (16, 1)], []):
        head(path, shapes)
        with pytest.raises(SteadyDancerError, match="holds no LAION head"):
            stages(Curate(aesthetic=str(path), aesthetic_clip=str(clip)))
    head(path, [(9, 1)])
    with pytest.raises(SteadyDancerError, match="for features of 9, .* gives 8"):
        measured(aesthetic=str(path), aesthetic_clip=str(clip))
    path.write_bytes(b"no tensors")
    with pytest.raises(SteadyDancerError, match=r"no \.safetensors file"):
        stages(Curate(aesthetic=str(path), aesthetic_clip=str(clip)))


def test_a_clip_that_lacks_weights_is_refused_rather_than_filled_with_random_ones(tmp_path, clip):
    from safetensors.torch import load_file, save_file

    head(tmp_path / "head.safetensors", [(8, 1)])
    broken = tmp_path / "clip"
    broken.mkdir()
    (broken / "config.json").write_bytes((clip / "config.json").read_bytes())
    weights = load_file(clip / "model.safetensors")
    save_file(
        {name: weights[name] for name in weights if "visual_projection" not in name}, broken / "model.safetensors"
    )
    with pytest.raises(WeightsNotFound, match=r"lacks 1 weights of a CLIP, visual_projection"):
        measured(aesthetic=str(tmp_path / "head.safetensors"), aesthetic_clip=str(broken))
    with pytest.raises(WeightsNotFound, match=r"curate\.aesthetic_clip"):
        stages(Curate(aesthetic=str(tmp_path / "head.safetensors"), aesthetic_clip=str(tmp_path / "nowhere")))


def test_scores_are_identified_by_the_content_of_their_weights_and_not_by_where_they_lie(tmp_path, clip):
    def settings(path):
        return [stage.settings() for stage in stages(Curate(aesthetic=str(path), aesthetic_clip=str(clip)))]

    head(tmp_path / "one.safetensors", [(8, 1)])
    (tmp_path / "two.safetensors").write_bytes((tmp_path / "one.safetensors").read_bytes())
    head(tmp_path / "other.safetensors", MLP)
    assert settings(tmp_path / "one.safetensors") == settings(tmp_path / "two.safetensors")
    assert settings(tmp_path / "one.safetensors") != settings(tmp_path / "other.safetensors")


# text


def white_finder(path, shape):
    """Finds text where the picture is white: the mean of the channels, 0..1, as a map of ``shape``."""
    mean = (122.67891434 + 116.66876762 + 104.00698793) / 3 / 255  # OpenCV takes (shade - mean) / 255
    nodes = [
        helper.make_node("Conv", ["picture", "third", "mean"], ["whiteness"], kernel_shape=[1, 1]),
        helper.make_node("Reshape", ["whiteness", "shape"], ["map"]),
    ]
    constants = [
        helper.make_tensor("third", TensorProto.FLOAT, [1, 3, 1, 1], [1 / 3] * 3),
        helper.make_tensor("mean", TensorProto.FLOAT, [1], [mean]),
        helper.make_tensor("shape", TensorProto.INT64, [len(shape)], shape),
    ]
    picture = helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, 3, 736, 736])
    found = helper.make_tensor_value_info("map", TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, "db", [picture], [found], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    return white_finder(tmp_path_factory.mktemp("detector") / "db.onnx", [736, 736])


def test_a_detectors_text_is_measured_by_its_area_and_replaces_the_scans(detector):
    images = np.zeros((4, 300, 400, 3), np.uint8)
    assert measured(images, text_detector=str(detector)) == {"text_area": 0.0}
    images[:2, 100:160, 50:350] = 255  # half of the frames show a block of 60 x 300
    area = measured(images, text_detector=str(detector))["text_area"]
    grown = 60 * 300 * 2 / (2 * 360)  # the detector's answer is a kernel that it grows by this on each side
    wanted = (60 + 2 * grown) * (300 + 2 * grown) / (300 * 400) / 2
    assert area == pytest.approx(wanted, rel=0.1)


def test_another_file_than_pinned_is_refused_and_what_is_no_network_too(tmp_path, detector):
    right = hashlib.sha256(detector.read_bytes()).hexdigest()
    assert len(stages(Curate(text_detector=str(detector), text_detector_sha256=right))) == 1
    with pytest.raises(SteadyDancerError, match=r"(?s)another file than curate.text_detector_sha256 says.*" + right):
        stages(Curate(text_detector=str(detector), text_detector_sha256="0" * 64))
    with pytest.raises(SteadyDancerError, match="no such file"):
        stages(Curate(text_detector=str(tmp_path / "missing.onnx")))
    (tmp_path / "bad.onnx").write_bytes(b"nothing")
    with pytest.raises(SteadyDancerError, match="cannot be run by OpenCV"):
        measured(text_detector=str(tmp_path / "bad.onnx"))
    white_finder(tmp_path / "four.onnx", [1, 1, 736, 736])
    with pytest.raises(SteadyDancerError, match=r"gives \[\(1, 1, 736, 736\)\], one map of \(736, 736\)"):
        measured(text_detector=str(tmp_path / "four.onnx"))


# nsfw


def share_of_first_shade(frames):
    assert frames.dtype == np.uint8 and frames.shape == (8, 24, 16, 3)
    return np.float32((frames == frames[0, 0, 0, 0]).mean())


ANSWERS = iter(())


def next_answer(frames):
    return next(ANSWERS)


def test_the_configured_function_is_asked_about_sampled_frames():
    wanted = (sampled(IMAGES, 8) == sampled(IMAGES, 8)[0, 0, 0, 0]).mean()
    assert measured(nsfw=f"{__name__}:share_of_first_shade") == {"nsfw": pytest.approx(wanted, abs=1e-6)}


@pytest.mark.parametrize("answer", [1.5, -0.1, math.nan, None, "0.3", True, np.zeros(2)])
def test_an_answer_that_is_no_share_is_refused_by_name(monkeypatch, answer):
    monkeypatch.setitem(globals(), "ANSWERS", iter([answer]))
    with pytest.raises(SteadyDancerError, match=rf"(?s){__name__}:next_answer returned .*, a number from 0 to 1"):
        measured(nsfw=f"{__name__}:next_answer")


def test_a_function_that_cannot_be_named_or_imported_is_refused():
    with pytest.raises(UsageError, match="module:function is expected"):
        stages(Curate(nsfw="no colon"))
    for name in ("nowhere_at_all:f", f"{__name__}:missing"):
        with pytest.raises(UsageError, match="cannot be imported"):
            measured(nsfw=name)
    with pytest.raises(UsageError, match="a function is expected"):
        measured(nsfw=f"{__name__}:IMAGES")
