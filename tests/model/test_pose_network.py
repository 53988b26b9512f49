"""The ONNX files DWPose takes and refuses, where they come from, and how they are run."""

import hashlib
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from infra.errors import SteadyDancerError
from infra.schema import Pose
from model.pose import network
from model.pose.estimator import build_estimator

pytest.importorskip("onnx", reason="the test networks are written with onnx")
pytest.importorskip("onnxruntime", reason="DWPose runs on onnxruntime")

import onnx
import onnxruntime
from marker_networks import BLUE, GREEN, RED, build, paint, write_detector, write_pose_network

MIDDLE = np.array([336, 336])


def test_what_was_used_is_on_record(tmp_path):
    estimator = build(tmp_path, detect_every=7)
    about = estimator.about
    assert about["name"] == "dwpose" and about["onnxruntime"] == onnxruntime.__version__
    assert about["detect_every"] == 7 and about["flip_test"] is False and about["compat"] is False
    for key, name in (("detector", "detector.onnx"), ("weights", "pose.onnx")):
        digest = hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
        assert about[key] == {"file": name, "sha256": digest, "provider": "CPUExecutionProvider"}


def test_files_that_will_not_do_are_named_with_a_way_out(tmp_path):
    good, pose = write_detector(tmp_path / "good.onnx"), write_pose_network(tmp_path / "pose.onnx")
    (tmp_path / "text.onnx").write_text("no network")
    (tmp_path / "empty.onnx").write_bytes(b"")
    whole = (tmp_path / "pose.onnx").read_bytes()
    (tmp_path / "half.onnx").write_bytes(whole[: len(whole) // 2])
    body_only = write_pose_network(tmp_path / "body.onnx", joints=17)
    coarse = write_detector(tmp_path / "coarse.onnx", rows=6400)
    fours = write_detector(tmp_path / "fours.onnx", batch=4)
    other_names = write_pose_network(tmp_path / "names.onnx", outputs=("keypoints", "visible"))
    for files, named in [
        ({}, "pose.detector: not set"),
        ({"detector": good}, "pose.weights: not set"),
        ({"detector": good, "weights": str(tmp_path / "absent.onnx")}, "absent.onnx is no file"),
        ({"detector": good, "weights": "weights/absent.onnx"}, "weights/absent.onnx is no file"),
        ({"detector": good, "weights": str(tmp_path)}, "is no file"),
        ({"detector": str(tmp_path / "text.onnx"), "weights": pose}, "text.onnx"),
        ({"detector": str(tmp_path / "empty.onnx"), "weights": pose}, "empty.onnx"),
        ({"detector": good, "weights": str(tmp_path / "half.onnx")}, "half.onnx"),
        ({"detector": good, "weights": body_only}, "17"),
        ({"detector": coarse, "weights": pose}, "6400"),
        ({"detector": fours, "weights": pose}, "fixed to 4"),
        ({"detector": pose, "weights": good}, "pose.onnx: it has 1 inputs and 2 outputs"),
        ({"detector": good, "weights": good}, r"1 and 2 \(simcc_x, simcc_y\) expected"),
    ]:
        with pytest.raises(SteadyDancerError, match=named) as refused:
            build_estimator(Pose(estimator="dwpose", **files))
        assert "pose.estimator=mediapipe" in refused.value.fix and "yzd-v/DWPose" in refused.value.fix
    build_estimator(Pose(estimator="dwpose", detector=good, weights=other_names))


def test_an_input_of_another_name_and_outputs_in_another_order_do(tmp_path):
    frames = np.zeros((1, 640, 640, 3), np.uint8)
    paint(frames[0], RED, MIDDLE, 26)
    paint(frames[0], GREEN, MIDDLE - (0, 80), 5)
    paint(frames[0], BLUE, MIDDLE + (0, 80), 5)
    estimator = build(tmp_path)
    other = build(tmp_path, detector={"name": "pictures"})
    reordered = onnx.load(str(tmp_path / "pose.onnx"))
    outputs = list(reordered.graph.output)[::-1]
    del reordered.graph.output[:]
    reordered.graph.output.extend(outputs)
    onnx.save(reordered, str(tmp_path / "reordered.onnx"))
    files = {"detector": str(tmp_path / "detector.onnx"), "weights": str(tmp_path / "reordered.onnx")}
    (expected,) = estimator.estimate(frames)
    for same in (other, build_estimator(Pose(estimator="dwpose", **files))):
        (track,) = same.estimate(frames)
        assert np.array_equal(track.keypoints, expected.keypoints)


def test_outputs_of_other_shapes_than_declared_are_refused(tmp_path):
    good = write_detector(tmp_path / "good.onnx", batch="n")
    model = onnx.load(good)
    node = onnx.helper.make_node
    model.graph.node[-1].output[0] = "all"
    # No row for a black picture, and nothing in the file says so.
    model.graph.node.extend(
        [
            node("ReduceMax", ["images"], ["brightest"], axes=[0, 1, 2, 3], keepdims=0),
            node("Unsqueeze", ["brightest", "first"], ["line"]),
            node("Cast", ["line"], ["taken"], to=onnx.TensorProto.BOOL),
            node("Compress", ["all", "taken"], ["output"], axis=1),
        ]
    )
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([0]), "first"))
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_param = "rows"
    onnx.save(model, str(tmp_path / "undeclared.onnx"))
    pose = write_pose_network(tmp_path / "pose.onnx")
    frames = np.zeros((1, 64, 64, 3), np.uint8)
    assert build_estimator(Pose(estimator="dwpose", detector=good, weights=pose)).estimate(frames) == []
    wrong = build_estimator(Pose(estimator="dwpose", detector=str(tmp_path / "undeclared.onnx"), weights=pose))
    with pytest.raises(SteadyDancerError, match=r"undeclared.onnx: output output came as \(1, 0, 85\)"):
        wrong.estimate(frames)


def test_a_file_of_another_hash_is_refused(tmp_path):
    estimator = build(tmp_path)
    hashes = {f"{key}_sha256": estimator.about[key]["sha256"] for key in ("detector", "weights")}
    build(tmp_path, **hashes)
    for key in hashes:
        with pytest.raises(SteadyDancerError, match=f"SHA-256 {hashes[key]}, {'0' * 64} expected"):
            build(tmp_path, **{**hashes, key: "0" * 64})


def test_weights_from_the_hub_are_the_known_ones_or_refused(tmp_path, monkeypatch):
    files = {
        "yolox_l.onnx": write_detector(tmp_path / "yolox_l.onnx"),
        "dw-ll_ucoco_384.onnx": write_pose_network(tmp_path / "dw-ll_ucoco_384.onnx"),
    }
    digests = [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in files.values()]
    asked = []

    def download(repo, name):
        asked.append((repo, name))
        return files[name]

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    hub = {"estimator": "dwpose", "detector": "yzd-v/DWPose", "weights": "yzd-v/DWPose"}
    with pytest.raises(
        SteadyDancerError, match="yolox_l.onnx has the SHA-256.*7860ae79de6c89a3c1eb72ae9a2756c0ccfbe04"
    ):
        build_estimator(Pose(**hub))
    monkeypatch.setitem(network.HUB_SHA256, "detector", digests[0])
    with pytest.raises(
        SteadyDancerError, match="dw-ll_ucoco_384.onnx has the SHA-256.*724f4ff2439ed61afb86fb8a1951ec3"
    ):
        build_estimator(Pose(**hub))
    monkeypatch.setitem(network.HUB_SHA256, "weights", digests[1])
    asked.clear()
    estimator = build_estimator(Pose(**hub))
    assert asked == [("yzd-v/DWPose", name) for name in files]
    assert [estimator.about[key]["sha256"] for key in ("detector", "weights")] == digests

    other = {**hub, "detector": "somebody/else"}
    asked.clear()
    with pytest.raises(SteadyDancerError, match="somebody/else") as refused:
        build_estimator(Pose(**other))
    assert not asked and "pose.detector_sha256" in refused.value.fix
    build_estimator(Pose(**other, detector_sha256=digests[0]))
    assert asked[0] == ("somebody/else", "yolox_l.onnx")

    def offline(repo, name):
        raise LocalEntryNotFoundError("no connection")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    with pytest.raises(SteadyDancerError, match="yolox_l.onnx cannot be had from the hub as yzd-v/DWPose") as refused:
        build_estimator(Pose(**hub))
    assert "pose.estimator=mediapipe" in refused.value.fix


def test_cuda_where_there_is_none_is_an_error_and_auto_goes_without(tmp_path, monkeypatch):
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    with pytest.raises(SteadyDancerError, match="pose.device is cuda") as refused:
        build(tmp_path, device="cuda")
    assert "onnxruntime-gpu" in refused.value.fix
    assert build(tmp_path, device="auto").about["detector"]["provider"] == "CPUExecutionProvider"
    # A build with CUDA on a machine whose CUDA libraries are missing: listed, but the session has it not.
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    with pytest.warns(UserWarning, match="CUDAExecutionProvider"), pytest.raises(SteadyDancerError, match="on CPUExec"):
        build(tmp_path, device="cuda")


def test_the_settings_reach_onnxruntime(tmp_path, monkeypatch):
    seen = []
    original = onnxruntime.InferenceSession

    def session(path, options, providers):
        seen.append((options.intra_op_num_threads, options.inter_op_num_threads, providers))
        return original(path, options, providers=providers)

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    build(tmp_path, threads=3, device="cpu")
    assert seen == [(3, 1, ["CPUExecutionProvider"])] * 2
