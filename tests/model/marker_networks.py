"""ONNX networks with the inputs and outputs of YOLOX-L and DWPose-L that find coloured markers, and frames for them.

The detector puts a box of a fixed size around every red marker; the pose network finds for every joint the markers of
the joint's colour, the one nearest to the middle of the crop first, as a trained network prefers whom the crop is
about. ``heavy`` lets a network do as many multiply-adds as a real one, without any effect on what it finds.
"""

from pathlib import Path

import cv2
import numpy as np
import onnx

from infra.schema import Pose
from model.pose.dwpose import DWPoseEstimator

MEAN, STD = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
JOINTS = 133
# Saturated enough to stay apart from each other, from grey and from what lies between a marker and mid grey.
LEVELS = (0, 128, 255)
COLOURS = [(r, g, b) for r in LEVELS for g in LEVELS for b in LEVELS if len({r, g, b}) > 1 and (r, g, b) != RED]
REACH = 0.2  # of the colour range: how far a colour may be off

YOLOX_L_GMAC, DWPOSE_L_GMAC = 77.8, 10.1
"""Multiply-adds of the real networks on one picture, in thousand millions, by their authors' tables."""


def build(folder: Path, *, detector: dict | None = None, pose: dict | None = None, **settings) -> DWPoseEstimator:
    """The estimator on marker networks, written into ``folder`` as ``detector`` and ``pose`` say; it searches every
    frame unless ``settings`` say otherwise."""
    files = {
        "detector": write_detector(folder / "detector.onnx", **(detector or {})),
        "weights": write_pose_network(folder / "pose.onnx", **(pose or {})),
    }
    return DWPoseEstimator(Pose(estimator="dwpose", **{"detect_every": 1, **files, **settings}))


def paint(frame: np.ndarray, colour: tuple[int, int, int], place, half: float) -> None:
    """A square of ``colour`` around ``place`` (x, y)."""
    (left, top), (right, bottom) = np.round([np.asarray(place) - half, np.asarray(place) + half]).astype(int)
    frame[max(top, 0) : max(bottom + 1, 0), max(left, 0) : max(right + 1, 0)] = colour


def paint_joints(frame: np.ndarray, joints: np.ndarray, radius: int, colours=COLOURS) -> None:
    """``joints`` (N, 2) as discs of the first N colours."""
    for (x, y), colour in zip(joints.round().astype(int).tolist(), colours, strict=False):
        cv2.circle(frame, (x, y), radius, colour, thickness=-1)


def write_detector(
    path: Path,
    person=(240, 480),
    *,
    batch: int | str = 1,
    heavy_gmac=0.0,
    rows=8400,
    bad_row=None,
    dog=0.0,
    name="images",
) -> str:
    """A box of ``person`` (width, height) px of the detector's square around every red marker of 24 px or more; red is
    the third channel (BGR). ``bad_row``: a sure person with this as its width. ``dog``: how sure it is of class 16,
    where 1 is how sure it is of people."""
    node = onnx.helper.make_node
    template = np.zeros((1, 6400, 85))
    template[..., :4], template[..., 5], template[..., 5 + 16] = [0.5, 0.5, *np.log(np.divide(person, 8))], 1, dog
    if bad_row is not None:
        template[0, 0, [2, 4]] = bad_row, 0.9
    nodes = [
        node("Conv", [name, "red", "bias"], ["redness"]),
        node("Relu", ["redness"], ["mask"]),
        node("AveragePool", ["mask"], ["cells"], kernel_shape=[24, 24], strides=[8, 8], pads=[8, 8, 8, 8]),
        node("Reshape", ["cells", "column"], ["objectness"]),
        node("Mul", ["objectness", "fifth"], ["scored"]),
        node("Add", ["scored", "template"], ["fine"]),
        node("Pad", ["fine", "rows"], ["found"]),
    ]
    constants = {
        "red": np.reshape([-1, -1, 1.1], (1, 3, 1, 1)) / 255,
        "bias": [-0.1],
        "column": np.array([-1, 6400, 1]),
        "fifth": np.eye(1, 85, 4)[None],
        "template": template,
        "rows": np.array([0, 0, 0, 0, rows - 6400, 0]),
    }
    nodes += _heavy("found", "output", name, heavy_gmac, 80, constants)
    return _save(path, nodes, constants, {name: [batch, 3, 640, 640]}, {"output": [batch, rows, 85]})


def write_pose_network(
    path: Path,
    colours=(GREEN, BLUE),
    *,
    batch: int | str = "batch",
    heavy_gmac=0.0,
    joints=JOINTS,
    sides: np.ndarray | None = None,
    shift=0,
    bad_joints: dict[int, float] | None = None,
    outputs=("simcc_x", "simcc_y"),
) -> str:
    """Joint j is where ``colours[j % len(colours)]`` is (RGB, normalised as the real one's input).

    ``sides`` (133,): joints that look in the left (-1) or right (1) half of the crop only. ``shift``: px by which it
    errs to the right. ``bad_joints``: what is added to all logits of a joint.
    """
    node = onnx.helper.make_node
    colours = np.array(colours) / 255
    bad = np.zeros((1, joints, 1))
    for joint, value in (bad_joints or {}).items():
        bad[0, joint] = value
    down, across = np.mgrid[-1:1:384j, -1:1:288j]
    # 1 - |colour - c|^2 / reach^2, from the colour and its square.
    weights = np.concatenate([2 * colours, -np.ones_like(colours)], axis=1) / REACH**2
    half = np.ones((1, len(colours), 1, 288))
    if sides is not None:
        for index in range(len(colours)):
            side = sides[index]
            half[0, index, 0] = 1 if not side else np.arange(288) * side > 143.5 * side
    nodes = [
        node("Conv", ["input", "std", "mean"], ["colour"]),
        node("Mul", ["colour", "colour"], ["square"]),
        node("Concat", ["colour", "square"], ["both"], axis=1),
        node("Conv", ["both", "colours", "bias"], ["likeness"]),
        node("Relu", ["likeness"], ["mask"]),
        node("Mul", ["mask", "middle"], ["nearest"]),
        node("Mul", ["nearest", "half"], ["weighed"]),
    ]
    constants = {
        "std": np.diag(STD / 255).reshape(3, 3, 1, 1),
        "mean": MEAN / 255,
        "colours": weights.reshape(len(colours), 6, 1, 1),
        "bias": 1 - np.square(colours).sum(axis=1) / REACH**2,
        "middle": (1 - 0.3 * np.minimum(1, across**2 + down**2))[None, None],
        "half": half,
        "which": np.arange(joints) % len(colours),
        "double": np.array([1.0, 1.0, 2.0]),
        "bad": bad,
    }
    for output, axis in zip(outputs, (2, 3), strict=True):
        nodes.append(node("ReduceMax", ["weighed"], [f"{output}0"], axes=[axis], keepdims=0))
        for step in range(3):  # a smooth hill with its top in the middle of the marker
            pads = [2 + shift, 2 - shift] if axis == 2 and step == 0 else [2, 2]
            smooth = {"kernel_shape": [5], "pads": pads, "count_include_pad": 1}
            nodes.append(node("AveragePool", [f"{output}{step}"], [f"{output}{step + 1}"], **smooth))
        nodes += [
            node("Resize", [f"{output}3", "", "double"], [f"{output}_fine"], mode="nearest"),
            node("Gather", [f"{output}_fine", "which"], [f"{output}_all"], axis=1),
            node("Add", [f"{output}_all", "bad"], [f"{output}_found"]),
        ]
    nodes += _heavy(f"{outputs[0]}_found", outputs[0], "input", heavy_gmac, 48 * 36 / 80, constants)
    nodes.append(node("Identity", [f"{outputs[1]}_found"], [outputs[1]]))
    sizes = dict(zip(outputs, ([batch, joints, 576], [batch, joints, 768]), strict=True))
    return _save(path, nodes, constants, {"input": [batch, 3, 384, 288]}, sizes)


def _heavy(found: str, output: str, picture: str, gmac: float, side: float, constants: dict) -> list:
    """``output`` is ``found`` plus next to nothing of a branch of 3x3 convolutions on the picture at an eighth."""
    node = onnx.helper.make_node
    if not gmac:
        return [node("Identity", [found], [output])]
    channels = 256
    layer = channels**2 * 9 * 80 * side / 1e9
    rng = np.random.default_rng(0)
    constants["stem"] = rng.normal(0, 0.01, (channels, 3, 8, 8))
    constants["layer"] = rng.normal(0, (2 / 9 / channels) ** 0.5, (channels, channels, 3, 3))
    constants["nothing"], constants["flat"] = np.array([1e-30]), np.array([-1, 1, 1])
    nodes = [node("Conv", [picture, "stem"], ["deep0"], strides=[8, 8])]
    layers = round(gmac / layer)
    for index in range(layers):
        nodes += [
            node("Conv", [f"deep{index}", "layer"], [f"conv{index}"], pads=[1, 1, 1, 1]),
            node("Relu", [f"conv{index}"], [f"deep{index + 1}"]),
        ]
    nodes += [
        node("ReduceMean", [f"deep{layers}"], ["one"], axes=[1, 2, 3], keepdims=0),
        node("Reshape", ["one", "flat"], ["each"]),
        node("Mul", ["each", "nothing"], ["almost_nothing"]),
        node("Add", [found, "almost_nothing"], [output]),
    ]
    return nodes


def _save(path: Path, nodes: list, constants: dict, inputs: dict, outputs: dict) -> str:
    def values(shapes):
        return [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, s) for n, s in shapes.items()]

    tensors = []
    for name, array in constants.items():
        array = np.asarray(array)
        kind = np.int64 if array.dtype.kind == "i" else np.float32
        tensors.append(onnx.numpy_helper.from_array(np.ascontiguousarray(array, kind), name))
    graph = onnx.helper.make_graph(nodes, "markers", values(inputs), values(outputs), tensors)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return str(path)
