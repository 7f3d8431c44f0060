import assert from "node:assert/strict";
import test from "node:test";
import {
  asMaps,
  largestGroups,
  productsOf,
  sourceOf,
  windowValues,
} from "../../pipeline/report/javascript/try-it/arithmetic.js";
import { layerOutputs } from "../../pipeline/report/javascript/try-it/network.js";

const image = { name: "image", kind: "input", shape: [1, 3, 3] };
const pixels = Float32Array.from([1, 2, 3, 4, 5, 6, 7, 8, 9]);

function convolution(options) {
  const plain = {
    name: "conv",
    kind: "convolution",
    inputs: [1, 3, 3],
    stride: [1, 1],
    pad: [0, 0],
    nonlinearity: "linear",
  };
  return { ...plain, ...options };
}

function outputOf(...layers) {
  const outputs = layerOutputs({ layers: [image, ...layers] }, pixels);
  return [...outputs[outputs.length - 1]];
}

test("a convolution meets each patch with its filter", () => {
  const layer = convolution({ shape: [1, 2, 2], size: [2, 2], weights: [1, 10, 100, 1000], biases: [0.5] });
  assert.deepEqual(outputOf(layer), [5421.5, 6532.5, 8754.5, 9865.5]);
});

test("a convolution with a stride and a border of zeros", () => {
  const layer = convolution({
    shape: [1, 2, 2],
    size: [2, 2],
    stride: [2, 2],
    pad: [1, 1],
    weights: [1, 10, 100, 1000],
    biases: [0],
  });
  assert.deepEqual(outputOf(layer), [1000, 3200, 7040, 9865]);
});

test("pooling takes the largest value of each window and drops what fills none", () => {
  const layer = { name: "pool", kind: "pooling", inputs: [1, 3, 3], shape: [1, 1, 1], size: [2, 2], stride: [2, 2] };
  assert.deepEqual(outputOf(layer), [5]);
  assert.deepEqual(windowValues(layer, pixels, 0), { size: [2, 2], values: [1, 2, 4, 5], maximum: 3 });
});

test("each nonlinearity", () => {
  const dense = (nonlinearity) => ({
    ...{ name: "dense", kind: "dense", inputs: [1, 3, 3], shape: [2], nonlinearity },
    ...{ weights: Float64Array.from({ length: 18 }, (_, index) => (index % 2 ? -1 : 1)), biases: [-43, 44] },
  });
  assert.deepEqual(outputOf(dense("linear")), [2, -1]);
  assert.deepEqual(outputOf(dense("rectify")), [2, 0]);
  assert.deepEqual(outputOf(dense("sigmoid")), [1 / (1 + Math.exp(-2)), 1 / (1 + Math.exp(1))].map(Math.fround));
  assert.deepEqual(outputOf(dense("tanh")), [Math.tanh(2), Math.tanh(-1)].map(Math.fround));
  assert.deepEqual(outputOf(dense("softmax")), [1 / (1 + Math.exp(-3)), 1 / (1 + Math.exp(3))].map(Math.fround));
});

test("a value's products, their sum and the bias make it", () => {
  const layer = convolution({
    shape: [2, 2, 2],
    size: [2, 2],
    weights: [0, 0, 0, 0, 1, 10, 100, 1000],
    biases: [7, 0.5],
  });
  const network = { layers: [image, layer] };
  const found = productsOf(network, 1, layerOutputs(network, pixels), 6);
  assert.deepEqual(found.groups[0].values, [4, 5, 7, 8]);
  assert.deepEqual(found.groups[0].weights, [1, 10, 100, 1000]);
  assert.deepEqual(found.groups[0].products, [4, 50, 700, 8000]);
  assert.deepEqual([found.sum, found.bias, found.before], [8754, 0.5, 8754.5]);
  assert.deepEqual(sourceOf(layer, 6, true), { row: 1, column: 0, rows: 2, columns: 2 });
});

test("a dense layer's products come map by map, and those of a flat image as a square", () => {
  const dense = {
    name: "dense",
    kind: "dense",
    inputs: [4],
    shape: [2],
    weights: [1, 2, 3, 4, 5, 6, 7, 8],
    biases: [0, 1],
    nonlinearity: "linear",
  };
  const network = { layers: [{ kind: "input", shape: [4] }, dense] };
  const found = productsOf(network, 1, layerOutputs(network, Float32Array.from([1, 1, 1, 2])), 1);
  assert.deepEqual(
    found.groups.map((group) => group.products),
    [[2, 4, 6, 16]],
  );
  assert.deepEqual(found.size, [2, 2]);
  assert.deepEqual(asMaps([4]), [4, 1, 1]);
});

test("the groups of the largest sums come first, and the others are added up", () => {
  const groups = [1, -5, 2, -0.5].map((sum) => ({ sum }));
  assert.deepEqual(largestGroups(groups, 2), { largest: [{ sum: -5 }, { sum: 2 }], others: 2, othersSum: 0.5 });
});
