"""Serialise a trained network's weights in the Safetensors format, with its declaration as metadata.

A file is the length of a JSON header, the header, and the tensors' values one after the other:
https://github.com/huggingface/safetensors#format. The library safetensors is not used, because it writes the header in
an order that differs from run to run.
"""

from __future__ import annotations

import itertools
import json

from pipeline.inference.trained_network import TrainedNetwork

LAYOUT = (
    "Lasagne's: dense W is (inputs, units), convolution W is (filters, channels, height, width) "
    "for a true convolution: flip the filters on both axes to correlate"
)
ALIGNMENT = 8
"""Bytes; spaces after the header align the values."""


def serialised(trained: TrainedNetwork) -> bytes:
    """Return the file's bytes; its metadata has ``network``, from `Network.to_json`, and ``class_names``."""
    values = [array.astype("<f4").tobytes() for array in trained.weights.values()]
    ends = list(itertools.accumulate(map(len, values), initial=0))
    tensors = {
        name: {"dtype": "F32", "shape": array.shape, "data_offsets": offsets}
        for (name, array), offsets in zip(trained.weights.items(), itertools.pairwise(ends), strict=True)
    }
    metadata = {
        "name": trained.name,
        "key": trained.key,
        "network": json.dumps(trained.network.to_json()),
        "class_names": json.dumps(trained.class_names),
        "data": trained.title,
        "layout": LAYOUT,
    }
    header = json.dumps({"__metadata__": metadata, **tensors}).encode()
    header += b" " * (-len(header) % ALIGNMENT)
    return b"".join([len(header).to_bytes(8, "little"), header, *values])
