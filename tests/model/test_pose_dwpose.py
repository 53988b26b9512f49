"""The whole DWPose path on small networks of the real shapes that find coloured markers."""

import numpy as np
import pytest

from infra.errors import SteadyDancerError
from infra.schema import Pose
from model.pose import wholebody
from model.pose.estimator import build_estimator

onnx = pytest.importorskip("onnx", reason="the test networks are written with onnx")
pytest.importorskip("onnxruntime", reason="DWPose runs on onnxruntime")

PERSON_WIDTH, PERSON_HEIGHT = 240, 480  # of every box the detector gives, in px of its square
MIDDLE = np.array([336, 336])
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def constant(name, values, kind=np.float32):
    return onnx.numpy_helper.from_array(np.array(values, kind), name)


def save(path, nodes, constants, inputs, outputs):
    def value(name, shape):
        return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)

    graph = onnx.helper.make_graph(
        nodes, "markers", [value(*each) for each in inputs], [value(*each) for each in outputs], constants
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return str(path)


def detector(path, rows=8400):
    """Objectness of a cell is how much of it is red, with red the third channel (BGR)."""
    node = onnx.helper.make_node
    head, tail = np.log([PERSON_WIDTH / 32, PERSON_HEIGHT / 32]), np.eye(1, 80)[0]
    nodes = [
        node("Conv", ["images", "red"], ["redness"]),
        node("Relu", ["redness"], ["mask"]),
        node("AveragePool", ["mask"], ["cells"], kernel_shape=[32, 32], strides=[32, 32]),
        node("Reshape", ["cells", "column"], ["objectness"]),
        node("Concat", ["head", "objectness", "tail"], ["coarse"], axis=2),
        node("Concat", ["fine", "coarse"], ["output"], axis=1),
    ]
    constants = [
        constant("red", np.array([-1, -1, 1]).reshape(1, 3, 1, 1) / 255),
        constant("column", [1, 400, 1], np.int64),
        constant("head", np.broadcast_to([0.5, 0.5, *head], (1, 400, 4))),
        constant("tail", np.broadcast_to(tail, (1, 400, 80))),
        constant("fine", np.zeros((1, rows - 400, 85))),
    ]
    return save(path, nodes, constants, [("images", [1, 3, 640, 640])], [("output", [1, rows, 85])])


def pose_network(path, joints=133):
    """Even joints are the middle of what is green, odd ones of what is blue (RGB, normalised)."""
    node = onnx.helper.make_node
    mean, std = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
    weights = np.array([[-1, 1, -1], [-1, -1, 1]]) / 255
    nodes = [
        node("Conv", ["input", "colours", "bias"], ["likeness"]),
        node("Relu", ["likeness"], ["mask"]),
        node("AveragePool", ["mask"], ["smooth"], kernel_shape=[9, 9], pads=[4, 4, 4, 4]),
    ]
    constants = [
        constant("colours", (weights * std).reshape(2, 3, 1, 1)),
        constant("bias", weights @ mean - 0.02),
        constant("which", np.arange(joints) % 2, np.int64),
        constant("double", [1, 1, 2]),
    ]
    for name, axis in (("simcc_x", 2), ("simcc_y", 3)):
        nodes += [
            node("ReduceMax", ["smooth"], [f"{name}_line"], axes=[axis], keepdims=0),
            node("Resize", [f"{name}_line", "", "double"], [f"{name}_fine"], mode="nearest"),
            node("Gather", [f"{name}_fine", "which"], [name], axis=1),
        ]
    outputs = [("simcc_x", [1, joints, 576]), ("simcc_y", [1, joints, 768])]
    return save(path, nodes, constants, [("input", [1, 3, 384, 288])], outputs)


@pytest.fixture(scope="module")
def estimator(tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")
    files = {"detector": detector(folder / "detector.onnx"), "weights": pose_network(folder / "pose.onnx")}
    return build_estimator(Pose(estimator="dwpose", **files))


def paint(frame, colour, place, half):
    (left, top), (right, bottom) = np.round([place - half, place + half]).astype(int)
    frame[top : bottom + 1, left : right + 1] = colour


@pytest.mark.parametrize("size", [(720, 1280), (1280, 720), (330, 250)])
def test_people_are_counted_and_the_joints_of_the_surest_found(estimator, size):
    unit = max(size) / 640  # px of the frame per px of the detector's square
    frames = np.full((3, *size, 3), 40, np.uint8)
    surest, other = np.array([112, 176]), np.array([318, 190])  # the middle of a cell, and the edge of another
    expected = np.zeros((3, 2, 2))
    for index, frame in enumerate(frames[:2]):
        for person in (surest, other)[: index + 1]:
            paint(frame, RED, person * unit, 26 * unit)
        expected[index] = (surest + (-20, -70 - 9 * index)) * unit, (surest + (30, 80)) * unit
        for colour, place in zip((GREEN, BLUE), expected[index], strict=True):
            paint(frame, colour, place, 8 * unit)
    assert estimator.count_people(frames).tolist() == [1, 2, 0]
    (track,) = estimator.estimate(frames)
    tolerance = 1 + 2 * unit
    for index in (0, 1):
        for joint in (wholebody.NOSE, wholebody.LEFT_EYE, wholebody.FACE.start, wholebody.RIGHT_HAND.stop - 1):
            assert np.abs(track.keypoints[index, joint] - expected[index, joint % 2]).max() < tolerance
        assert (track.scores[index] > 0.5).all()
    assert not track.scores[2].any()


def test_the_colours_are_fed_in_the_order_the_networks_know(estimator):
    frame = np.zeros((1, 640, 640, 3), np.uint8)
    paint(frame[0], BLUE, MIDDLE, 26)
    assert estimator.count_people(frame).tolist() == [0]
    assert estimator.estimate(frame) == []
    assert estimator.count_people(np.ascontiguousarray(frame[..., ::-1])).tolist() == [1]


def test_a_joint_without_response_has_score_zero_and_a_finite_place(estimator):
    frame = np.zeros((1, 640, 640, 3), np.uint8)
    paint(frame[0], RED, MIDDLE, 26)
    paint(frame[0], GREEN, MIDDLE - (0, 80), 8)
    (track,) = estimator.estimate(frame)
    assert (track.scores[0, ::2] > 0.5).all() and not track.scores[0, 1::2].any()
    assert (track.keypoints[0, 1::2] == -1).all()


def test_files_that_will_not_do_are_named_with_a_way_out(tmp_path):
    good, pose = detector(tmp_path / "good.onnx"), pose_network(tmp_path / "pose.onnx")
    (tmp_path / "text.onnx").write_text("no network")
    whole = (tmp_path / "pose.onnx").read_bytes()
    (tmp_path / "half.onnx").write_bytes(whole[: len(whole) // 2])
    body_only = pose_network(tmp_path / "body.onnx", joints=17)
    coarse = detector(tmp_path / "coarse.onnx", rows=2100)
    for files, named in [
        ({}, "pose.detector: not set"),
        ({"detector": good}, "pose.weights: not set"),
        ({"detector": good, "weights": str(tmp_path / "absent.onnx")}, "absent.onnx"),
        ({"detector": str(tmp_path / "text.onnx"), "weights": pose}, "text.onnx"),
        ({"detector": good, "weights": str(tmp_path / "half.onnx")}, "half.onnx"),
        ({"detector": good, "weights": body_only}, "17"),
        ({"detector": coarse, "weights": pose}, "2100"),
        ({"detector": pose, "weights": good}, "pose.onnx: input"),
    ]:
        with pytest.raises(SteadyDancerError, match=named) as refused:
            build_estimator(Pose(estimator="dwpose", **files))
        assert "pose.estimator=mediapipe" in refused.value.fix
