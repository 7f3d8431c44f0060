// Take a value of a layer apart: the values that it is made of, the weights, the products and their sum, or the maximum.

import { product, rectangleOf, windowOf } from "./network.js";

/**
 * Return a shape as [channels, rows, columns]. The pixels of a flat image form a square; units are channels of one value.
 */
export function asMaps(shape, isImage = false) {
  const side = Math.sqrt(shape[0]);
  if (shape.length === 1) {
    return isImage && Number.isInteger(side) ? [1, side, side] : [shape[0], 1, 1];
  }
  return shape;
}

/** Return the channel, the row and the column of a value of maps. */
export function placeOf([, rows, columns], index) {
  return {
    channel: Math.floor(index / (rows * columns)),
    row: Math.floor(index / columns) % rows,
    column: index % columns,
  };
}

/**
 * Take a value of a convolution or of a dense layer apart.
 *
 * The products come in groups, one for each channel of the inputs: {channel, values, weights, products, sum}, each in
 * rows of `size[1]` values. `sum` is that of all products, and `before` adds the bias.
 */
export function productsOf(network, position, outputs, index) {
  const layer = network.layers[position];
  const inputs = outputs[position - 1];
  const isConvolution = layer.kind === "convolution";
  const { channel, row, column } = placeOf(asMaps(layer.shape), index);
  const [channels, ...mapSize] = asMaps(layer.inputs, position === 1);
  const size = isConvolution ? layer.size : mapSize;
  const area = product(size);
  const groups = Array.from({ length: channels }, (_, from) => {
    const places = isConvolution
      ? windowOf(layer, from, row, column)
      : Array.from({ length: area }, (_, place) => from * area + place);
    const values = places.map((place) => (place < 0 ? 0 : inputs[place]));
    const weights = values.map((_, place) =>
      isConvolution
        ? layer.weights[(channel * channels + from) * area + place]
        : layer.weights[(from * area + place) * layer.shape[0] + index],
    );
    const products = values.map((value, place) => value * weights[place]);
    return { channel: from, values, weights, products, sum: total(products) };
  });
  const sum = total(groups.map((group) => group.sum));
  const bias = layer.biases[channel];
  return { size, groups, bias, sum, before: sum + bias };
}

/** Return the values of a pooling window, in rows of `size[1]` values, and the place of its first maximum. */
export function windowValues(layer, inputs, index) {
  const { channel, row, column } = placeOf(layer.shape, index);
  const values = windowOf(layer, channel, row, column).map((place) => inputs[place]);
  return { size: layer.size, values, maximum: values.indexOf(Math.max(...values)) };
}

/** Return the rectangle {row, column, rows, columns} of the inputs' maps that a value is made of. */
export function sourceOf(layer, index, isFirst) {
  const { row, column } = placeOf(asMaps(layer.shape), index);
  if (layer.kind === "dense") {
    const [, rows, columns] = asMaps(layer.inputs, isFirst);
    return { row: 0, column: 0, rows, columns };
  }
  return rectangleOf(layer, row, column);
}

/** Put the groups of the largest absolute sums first, and count and add up the others. */
export function largestGroups(groups, count) {
  const sorted = [...groups].sort((one, other) => Math.abs(other.sum) - Math.abs(one.sum));
  const others = sorted.slice(count);
  return { largest: sorted.slice(0, count), others: others.length, othersSum: total(others.map((group) => group.sum)) };
}

function total(numbers) {
  return numbers.reduce((sum, number) => sum + number, 0);
}
