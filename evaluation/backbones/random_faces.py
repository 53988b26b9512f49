"""Random networks with the layout and the size of YuNet and SFace, as ONNX: they measure nothing. For tests."""

import numpy as np

from infra.errors import SteadyDancerError

FRONTAL = (-1.0, -0.8, 1.0, -0.8, 0.0, 0.1, -0.8, 0.9, 0.8, 0.9)  # a face's five points, in strides about its middle
STRIDES = (8, 16, 32)


class _Graph:
    """Layers as they are added, with He-initialised weights."""

    def __init__(self, seed: int):
        try:
            import onnx
        except ImportError as error:
            raise SteadyDancerError(f"Random face networks need onnx ({error}).", "pip install onnx") from None
        self._onnx, self._random = onnx, np.random.default_rng(seed)
        self._nodes, self._weights = [], []

    def add(self, kind: str, *inputs: str, output: str | None = None, **attributes) -> str:
        output = output or f"{kind}{len(self._nodes)}"
        self._nodes.append(self._onnx.helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def constant(self, values: np.ndarray) -> str:
        name = f"weights{len(self._weights)}"
        self._weights.append(self._onnx.numpy_helper.from_array(values, name))
        return name

    def normal(self, *shape: int, scale: float = 1.0) -> str:
        spread = scale * np.sqrt(2 / np.prod(shape[1:]))
        return self.constant((spread * self._random.standard_normal(shape)).astype(np.float32))

    def conv(self, x: str, given: int, out: int, side: int = 1, stride: int = 1, groups: int = 1) -> str:
        kernel, pads = self.normal(out, given // groups, side, side), [side // 2] * 4
        out = self.add("Conv", x, kernel, kernel_shape=[side] * 2, strides=[stride] * 2, pads=pads, group=groups)
        return self.add("Relu", out)

    def separable(self, x: str, given: int, out: int, stride: int = 1) -> str:
        return self.conv(self.conv(x, given, given, 3, stride, groups=given), given, out)

    def model(self, side: int, outputs: dict[str, list[int | str]]) -> bytes:
        helper, kind = self._onnx.helper, self._onnx.TensorProto.FLOAT
        given = [helper.make_tensor_value_info("input", kind, [1, 3, side, side])]
        shapes = [helper.make_tensor_value_info(name, kind, shape) for name, shape in outputs.items()]
        graph = helper.make_graph(self._nodes, "random", given, shapes, self._weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)])
        model.ir_version = 8
        return model.SerializeToString()


def detector(seed: int, sure: float = 2.0) -> bytes:
    """About 75,000 weights. Its findings have the points of a face seen from the front, and ``sure`` (a logit) as their
    scores at stride 32; elsewhere they are hardly sure.
    """
    graph = _Graph(seed)
    x = graph.separable(graph.conv("input", 3, 16, 3, 2), 16, 16)
    x = graph.separable(graph.separable(x, 16, 64, 2), 64, 64)
    outputs: dict[str, list[int | str]] = {}
    for stride in STRIDES:
        certainty = (sure if stride == STRIDES[-1] else -4.0,)
        x = graph.separable(graph.separable(graph.separable(x, 64, 64, 2), 64, 64), 64, 64)
        for name, bias in {"cls": certainty, "obj": certainty, "bbox": (0, 0, 1.5, 1.5), "kps": FRONTAL}.items():
            kernel = graph.normal(len(bias), 64, 1, 1, scale=0.01)
            head = graph.add("Conv", x, kernel, graph.constant(np.float32(bias)), kernel_shape=[1, 1])
            head = graph.add("Transpose", head, perm=[0, 2, 3, 1])
            named, shape = f"{name}_{stride}", graph.constant(np.array([1, -1, len(bias)]))
            if name in ("cls", "obj"):
                head = graph.add("Sigmoid", head)
            graph.add("Reshape", head, shape, output=named)
            outputs[named] = [1, (640 // stride) ** 2, len(bias)]
    return graph.model(640, outputs)


def recogniser(seed: int) -> bytes:
    """About 9,600,000 weights: MobileNet at a total stride of 16, and one layer from its 7 x 7 x 1024 to 128."""
    graph = _Graph(seed)
    x, given = graph.conv("input", 3, 32, 3), 32
    widths = [64, 128, 128, 256, 256, *[512] * 6, 1024, 1024]
    for out, stride in zip(widths, [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1], strict=True):
        x, given = graph.separable(x, given, out, stride), out
    flat = graph.add("Flatten", x)
    graph.add("Gemm", flat, graph.normal(128, 7 * 7 * 1024), output="features", transB=1)
    return graph.model(112, {"features": [1, 128]})
