// Show the arithmetic behind a value: the values, the weights, the products and their sum, or the maximum.

import { drawMaps, gridOf, largestAbsolute } from "../canvas.js";
import { counted, create, decimal, percent } from "../dom.js";
import { asMaps, largestGroups, placeOf, productsOf, windowValues } from "./arithmetic.js";

const MAX_GROUPS = 3;
/** The most values in a row that are written as numbers; more are drawn. */
const MAX_NUMBERS = 5;

/** Return the elements that explain a value of a layer after the image, a sentence first. */
export function explanation(network, position, outputs, index) {
  const layer = network.layers[position];
  return layer.kind === "pooling"
    ? explainedMaximum(layer, outputs, position, index)
    : explainedSum(network, position, outputs, index);
}

/** Return the elements that explain a pixel's gray value; `rgb` has its red, green and blue. */
export function explainedGray(title, rgb, gray) {
  const [red, green, blue] = rgb;
  const luma = 0.299 * red + 0.587 * green + 0.114 * blue;
  const formula = `0.299 × ${red} + 0.587 × ${green} + 0.114 × ${blue} = ${decimal(luma)}`;
  return [
    heading(title, gray),
    create(
      "p",
      {},
      `Red, green and blue make one gray value: ${formula}. Divided by 255, minus 0.5: ${decimal(gray)}.`,
    ),
  ];
}

/** Return the name of a value, such as "conv1, map 3, row 4, column 5", counted from 1. */
export function nameOf(layer, index, isImage) {
  const maps = asMaps(layer.shape, isImage);
  const { channel, row, column } = placeOf(maps, index);
  if (layer.shape.length === 1 && !isImage) {
    return `${layer.name}, unit ${channel + 1}`;
  }
  const map = maps[0] > 1 ? `, map ${channel + 1}` : "";
  return `${layer.name}${map}, row ${row + 1}, column ${column + 1}`;
}

function explainedMaximum(layer, outputs, position, index) {
  const { size, values, maximum } = windowValues(layer, outputs[position - 1], index);
  const value = outputs[position][index];
  return [
    heading(nameOf(layer, index), value),
    create("p", {}, `The largest of the ${counted(values.length, "value")} that the window covers.`),
    create("div", { class: "groups" }, numbers("window", values, size[1], maximum)),
  ];
}

function explainedSum(network, position, outputs, index) {
  const layer = network.layers[position];
  const { size, groups, bias, sum, before } = productsOf(network, position, outputs, index);
  const products = groups.length * size[0] * size[1];
  const { largest, others, othersSum } = largestGroups(groups, MAX_GROUPS);
  const title =
    layer.nonlinearity === "softmax" ? `${network.classes[index]}: ${nameOf(layer, index)}` : nameOf(layer, index);
  const rest = others ? [create("p", {}, `${counted(others, `more ${inputOf(layer)}`)}: Σ ${decimal(othersSum)}`)] : [];
  return [
    heading(title, outputs[position][index]),
    create("p", {}, `${sumSentence(products, sum, bias, before)} ${afterSum(layer, position, outputs, before, index)}`),
    create("div", { class: "groups" }, ...largest.map((group) => explainedGroup(group, size, layer, groups.length))),
    ...rest,
  ];
}

function sumSentence(products, sum, bias, before) {
  const sign = bias < 0 ? "−" : "+";
  return `The sum of ${counted(products, "product")} and the bias: ${decimal(sum)} ${sign} ${decimal(Math.abs(bias))} = ${decimal(before)}.`;
}

/** Return what the nonlinearity makes of a sum, as a sentence. */
function afterSum(layer, position, outputs, before, index) {
  const value = outputs[position][index];
  switch (layer.nonlinearity) {
    case "rectify":
      return before > 0
        ? "It is positive, so the rectifier keeps it."
        : "It is not positive, so the rectifier makes it 0.";
    case "softmax":
      return `Softmax: e to the power of ${decimal(before)}, divided by the sum of such powers over all classes, is ${percent(value)}.`;
    case "linear":
      return "The layer is linear, so it stays.";
    default:
      return `${layer.nonlinearity} makes it ${decimal(value)}.`;
  }
}

function inputOf(layer) {
  return layer.inputs.length === 1 ? "unit" : "map";
}

function explainedGroup({ channel, values, weights, products, sum }, size, layer, groups) {
  const from = groups > 1 ? `${inputOf(layer)} ${channel + 1}` : "input";
  const weightsTitle = layer.kind === "convolution" ? "filter" : "weights";
  const parts = [
    squares(from, values, size),
    create("span", {}, "×"),
    squares(weightsTitle, weights, size),
    create("span", {}, "="),
    squares("products", products, size),
    create("span", {}, `Σ ${decimal(sum)}`),
  ];
  return create("div", { class: "group" }, ...parts);
}

function squares(title, values, size) {
  return size[1] <= MAX_NUMBERS && size[0] <= MAX_NUMBERS
    ? numbers(title, values, size[1])
    : drawn(title, values, size);
}

/** Write values as a table, on blue where they are positive and on vermilion where they are negative. */
function numbers(title, values, columns, chosen = null) {
  const largest = largestAbsolute(values) || 1;
  const cells = Array.from(values, (value, place) => {
    const cell = create(
      "td",
      { class: `${value < 0 ? "negative" : "positive"}${place === chosen ? " chosen" : ""}` },
      decimal(value, 2),
    );
    cell.style.setProperty("--share", `${(60 * Math.abs(value)) / largest}%`);
    return cell;
  });
  const rows = [];
  for (let start = 0; start < cells.length; start += columns) {
    rows.push(create("tr", {}, ...cells.slice(start, start + columns)));
  }
  return create("table", { class: "squares" }, create("caption", {}, title), create("tbody", {}, ...rows));
}

function drawn(title, values, size) {
  const canvas = create("canvas", { "aria-hidden": "true" });
  const largest = largestAbsolute(values);
  drawMaps(canvas, gridOf([1, ...size], 1, 160), values, -largest, largest);
  return create("figure", {}, create("figcaption", {}, title), canvas);
}

function heading(title, value) {
  return create("h3", {}, `${title} = ${decimal(value)}`);
}
