// Compute a network layer by layer. Values between layers are float32, as in the engines; sums are float64.
//
// A layer is {name, kind, shape, ...}: `shape` is that of its output, [channels, rows, columns] or [units]. Kinds are
// "input", "convolution" (size, stride, pad, nonlinearity), "pooling" (size, stride) and "dense" (nonlinearity).
// `readNetwork` adds to each layer its `inputs`, the shape of the layer before, and its `weights` and `biases`.

import { unpack } from "../packed.js";

/** What a nonlinearity makes of a sum; softmax needs all sums of its layer. */
const NONLINEARITIES = {
  linear: (sum) => sum,
  rectify: (sum) => Math.max(sum, 0),
  sigmoid: (sum) => 1 / (1 + Math.exp(-sum)),
  tanh: (sum) => Math.tanh(sum),
};

/**
 * Unpack a network's weights into its layers.
 * @param {{title: string, layers: any[], weights: string}} packed As `pipeline.report.try_it` writes them.
 */
export async function readNetwork(packed) {
  const values = await unpack(packed.weights, Float32Array);
  let start = 0;
  const take = (count) => {
    start += count;
    return values.subarray(start - count, start);
  };
  const layers = packed.layers.map((layer, index) => {
    const inputs = index ? packed.layers[index - 1].shape : [];
    const read = { ...layer, inputs };
    if (layer.kind === "convolution") {
      read.weights = flipped(take(layer.shape[0] * patchSize(read)), layer.size[0] * layer.size[1]);
      read.biases = take(layer.shape[0]);
    } else if (layer.kind === "dense") {
      read.weights = take(product(inputs) * layer.shape[0]);
      read.biases = take(layer.shape[0]);
    }
    return read;
  });
  return { ...packed, layers };
}

/**
 * Compute the output of each layer for one image.
 * @param {Float32Array} image The gray values, row by row.
 * @returns {Float32Array[]} The image, then each layer's output; the last are the probabilities of the classes.
 */
export function layerOutputs(network, image) {
  const outputs = [image];
  for (const layer of network.layers.slice(1)) {
    const inputs = outputs[outputs.length - 1];
    outputs.push(layer.kind === "pooling" ? pooled(layer, inputs) : activated(layer, weightedSums(layer, inputs)));
  }
  return outputs;
}

/** Compute what goes into a layer's nonlinearity: sums of products, and biases. */
function weightedSums(layer, inputs) {
  return layer.kind === "convolution" ? convolved(layer, inputs) : multiplied(layer, inputs);
}

/** Return the number of values under a filter. */
function patchSize(layer) {
  return layer.inputs[0] * layer.size[0] * layer.size[1];
}

/** Return the numbers' product: the number of values of a shape. */
export function product(shape) {
  return shape.reduce((result, size) => result * size, 1);
}

/** Reverse each filter of a true convolution, which flips its filters before they slide over the image. */
function flipped(filters, size) {
  const result = new Float32Array(filters.length);
  for (let start = 0; start < filters.length; start += size) {
    result.set(filters.slice(start, start + size).reverse(), start);
  }
  return result;
}

function activated(layer, sums) {
  if (layer.nonlinearity === "softmax") {
    const largest = Math.max(...sums);
    const exponentials = sums.map((sum) => Math.exp(sum - largest));
    const total = exponentials.reduce((one, other) => one + other);
    return new Float32Array(exponentials.map((exponential) => exponential / total));
  }
  return new Float32Array(sums.map(NONLINEARITIES[layer.nonlinearity]));
}

function multiplied(layer, inputs) {
  const { biases, weights } = layer;
  const sums = new Float64Array(biases);
  for (let input = 0; input < inputs.length; input += 1) {
    for (let unit = 0; unit < biases.length; unit += 1) {
      sums[unit] += inputs[input] * weights[input * biases.length + unit];
    }
  }
  return sums;
}

function convolved(layer, inputs) {
  const [filters, rows, columns] = layer.shape;
  const sums = new Float64Array(product(layer.shape));
  const patch = new Float64Array(patchSize(layer));
  for (let position = 0; position < rows * columns; position += 1) {
    copyPatch(layer, inputs, Math.floor(position / columns), position % columns, patch);
    for (let filter = 0; filter < filters; filter += 1) {
      sums[filter * rows * columns + position] =
        layer.biases[filter] + dot(patch, layer.weights, filter * patch.length);
    }
  }
  return sums;
}

/** Copy what a filter meets at a position, channel by channel and row by row. */
function copyPatch(layer, inputs, row, column, patch) {
  let index = 0;
  for (let channel = 0; channel < layer.inputs[0]; channel += 1) {
    for (const place of windowOf(layer, channel, row, column)) {
      patch[index] = place < 0 ? 0 : inputs[place];
      index += 1;
    }
  }
}

function dot(values, weights, start) {
  let sum = 0;
  for (let index = 0; index < values.length; index += 1) {
    sum += values[index] * weights[start + index];
  }
  return sum;
}

function pooled(layer, inputs) {
  const [, rows, columns] = layer.shape;
  const maxima = new Float32Array(product(layer.shape)).fill(Number.NEGATIVE_INFINITY);
  for (let index = 0; index < maxima.length; index += 1) {
    const row = Math.floor(index / columns) % rows;
    for (const place of windowOf(layer, Math.floor(index / (rows * columns)), row, index % columns)) {
      maxima[index] = Math.max(maxima[index], inputs[place]);
    }
  }
  return maxima;
}

/** Return the rectangle {row, column, rows, columns} of a layer's inputs that a filter or a pooling window covers. */
export function rectangleOf(layer, row, column) {
  const [above, left] = layer.pad ?? [0, 0];
  const [rows, columns] = layer.size;
  return { row: row * layer.stride[0] - above, column: column * layer.stride[1] - left, rows, columns };
}

/** Return the places in one channel of the rectangle, row by row; -1 stands for a place in the border of zeros. */
export function windowOf(layer, channel, row, column) {
  const [, height, width] = layer.inputs;
  const rectangle = rectangleOf(layer, row, column);
  const places = [];
  for (let y = rectangle.row; y < rectangle.row + rectangle.rows; y += 1) {
    for (let x = rectangle.column; x < rectangle.column + rectangle.columns; x += 1) {
      const isInside = y >= 0 && y < height && x >= 0 && x < width;
      places.push(isInside ? (channel * height + y) * width + x : -1);
    }
  }
  return places;
}
