"""Serialise a trained network as an ONNX graph from gray images to probabilities.

The input ``images`` is (N, ...), float32, from `pipeline.data.grayscale` in the network's input shape; the output
``probabilities`` is (N, classes). The names of the classes are in the metadata.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from onnx import NodeProto, TensorProto, checker, helper, numpy_helper

from pipeline.errors import ExportError
from pipeline.inference.trained_network import TrainedNetwork
from pipeline.networks.declaration import NamedLayer
from pipeline.networks.layers import Conv2DLayer, DenseLayer, InputLayer, MaxPool2DLayer, Nonlinearity

OPSET = 13
"""The first opset whose Softmax takes one axis: the older the opset, the more runtimes read it."""
IR_VERSION = 7
"""The version of the release of this opset, ONNX 1.8."""

INPUT, OUTPUT = "images", "probabilities"

WITH_WEIGHTS = ("Conv", "Gemm")
ACTIVATIONS = {
    Nonlinearity.rectify: "Relu",
    Nonlinearity.sigmoid: "Sigmoid",
    Nonlinearity.softmax: "Softmax",
    Nonlinearity.tanh: "Tanh",
}
"""The operator of each nonlinearity; linear needs none."""


def serialised(trained: TrainedNetwork) -> bytes:
    """Return the bytes of a file with the graph and the weights, after ONNX's checker has checked it.

    Raises `ExportError` for a layer without an operator.
    """
    nodes: list[NodeProto] = []
    value = INPUT
    for layer in trained.network.layers:
        for operator, suffix, attributes in _operators(layer):
            weights = [f"{layer.name}/W", f"{layer.name}/b"] if operator in WITH_WEIGHTS else []
            inputs, value = [value, *weights], f"{layer.name}{suffix}"
            nodes.append(helper.make_node(operator, inputs, [value], value, **attributes))
    nodes[-1].output[0] = OUTPUT
    graph = helper.make_graph(
        nodes,
        trained.name,
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["N", *trained.network.input_shape])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["N", trained.network.classes])],
        # ONNX's convolution does not flip its filters, (filters, channels, height, width).
        [
            numpy_helper.from_array(values[:, :, ::-1, ::-1] if values.ndim == 4 else values, name)
            for name, values in trained.weights.items()
        ],
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="faster-deep-learning",
        doc_string=f"{trained.name}, trained on {trained.title}. {INPUT}: gray, from -0.5, black, to 0.5, white.",
    )
    network, class_names = json.dumps(trained.network.to_json()), json.dumps(trained.class_names)
    helper.set_model_props(model, {"class_names": class_names, "network": network, "key": trained.key})
    checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _operators(named: NamedLayer) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the operators that compute a layer, each with the suffix of its output's name and its attributes."""
    match named.layer:
        case InputLayer():
            return
        case MaxPool2DLayer(pool_size, stride):
            yield "MaxPool", "", {"kernel_shape": pool_size, "strides": stride or pool_size}
            return
        case Conv2DLayer(_, filter_size, stride, pad, nonlinearity):
            yield "Conv", "", {"kernel_shape": filter_size, "strides": stride, "pads": (*pad, *pad)}
        case DenseLayer(_, nonlinearity):
            yield "Flatten", "/flat", {"axis": 1}
            yield "Gemm", "", {}
        case layer:
            raise ExportError(f"layer {named.name!r} is a {type(layer).__name__}, for which ONNX has no operator here.")
    if nonlinearity is not Nonlinearity.linear:
        axis = {"axis": 1} if nonlinearity is Nonlinearity.softmax else {}
        yield ACTIVATIONS[nonlinearity], f"/{nonlinearity}", axis
