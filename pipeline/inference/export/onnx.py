"""Serialise a trained network as an ONNX graph from gray images to probabilities.

The input ``images`` is (N, ...), float32, from `pipeline.data.grayscale` in the network's input shape; the output
``probabilities`` is (N, classes). The names of the classes are in the metadata.
"""

from __future__ import annotations

import json

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

ACTIVATIONS = {
    Nonlinearity.rectify: "Relu",
    Nonlinearity.sigmoid: "Sigmoid",
    Nonlinearity.softmax: "Softmax",
    Nonlinearity.tanh: "Tanh",
}
"""The operator of each nonlinearity; linear needs none."""


def serialised(trained: TrainedNetwork) -> bytes:
    """Return the bytes of a file with the graph and the weights, after ONNX's checker has checked it.

    Raises
    ------
    ExportError
        ONNX has no operator for a layer.
    """
    nodes: list[NodeProto] = []
    value = INPUT
    for layer in trained.network.layers:
        added = _nodes(layer, value)
        nodes += added
        value = added[-1].output[0] if added else value
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


def _nodes(named: NamedLayer, value: str) -> list[NodeProto]:
    """Return the nodes that compute a layer from ``value``; the output of the last one is the layer's."""
    name = named.name
    match named.layer:
        case InputLayer():
            return []
        case MaxPool2DLayer(pool_size, stride):
            strides = stride or pool_size
            return [helper.make_node("MaxPool", [value], [name], name, kernel_shape=pool_size, strides=strides)]
        case Conv2DLayer(_, filter_size, stride, pad, nonlinearity):
            inputs, pads = [value, f"{name}/W", f"{name}/b"], (*pad, *pad)
            convolution = helper.make_node(
                "Conv", inputs, [name], name, kernel_shape=filter_size, strides=stride, pads=pads
            )
            return [convolution, *_activation(name, nonlinearity)]
        case DenseLayer(_, nonlinearity):
            flat = f"{name}/flat"
            return [
                helper.make_node("Flatten", [value], [flat], flat, axis=1),
                helper.make_node("Gemm", [flat, f"{name}/W", f"{name}/b"], [name], name),
                *_activation(name, nonlinearity),
            ]
    raise ExportError(f"layer {name!r} is a {type(named.layer).__name__}, for which ONNX has no operator here.")


def _activation(name: str, nonlinearity: Nonlinearity) -> list[NodeProto]:
    if nonlinearity is Nonlinearity.linear:
        return []
    active = f"{name}/{nonlinearity}"
    node = helper.make_node(ACTIVATIONS[nonlinearity], [name], [active], active)
    if nonlinearity is Nonlinearity.softmax:
        node.attribute.append(helper.make_attribute("axis", 1))
    return [node]
