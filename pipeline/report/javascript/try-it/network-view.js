// Show how a network computes a picture: the picture, its gray values, each layer's output, the classes, the arithmetic.

import { create, percent } from "../dom.js";
import { grayscale } from "../pictures/pictures.js";
import { asMaps, sourceOf } from "./arithmetic.js";
import { explainedGray, explanation, nameOf } from "./arithmetic-view.js";
import { MapsView } from "./maps-view.js";
import { layerOutputs } from "./network.js";

const HINT =
  "Point at a value, tap it, or go to it by keyboard: here comes its arithmetic. " +
  "White is the largest value of a layer, and black is 0; where values may be negative, gray is 0.";

export class NetworkView {
  /**
   * @param {any} network As `readNetwork` returns it.
   * @param {string[]} classes
   * @param {(text: string) => void} speak Called with a text for screen readers when a value is chosen.
   */
  constructor(network, classes, speak) {
    const [image, ...others] = network.layers;
    this.network = { ...network, classes, layers: [{ ...image, name: "gray" }, ...others] };
    this.speak = speak;
    this.last = network.layers.length - 1;
    this.size = asMaps(image.shape, true).slice(1);
    this.color = create("canvas", { role: "img", "aria-label": "The picture, cropped and scaled" });
    this.maps = this.network.layers.slice(0, -1).map((layer, position) => {
      const kind = { isImage: position === 0, isSigned: isSigned(network.layers, position) };
      return new MapsView(layer, kind, (index) => this.choose([position, index]));
    });
    this.answers = classes.map((name, index) => answer(name, () => this.choose([this.last, index])));
    this.arithmetic = create("div", { class: "arithmetic", role: "region", "aria-label": "Arithmetic", tabindex: 0 });
    this.elements = this.arranged();
  }

  arranged() {
    const [gray, ...others] = this.maps.map((view) => view.element);
    const picture = create("figure", { class: "maps" }, create("figcaption", {}, "cropped and scaled"), this.color);
    const answers = create("div", { class: "answers", role: "group", "aria-label": "Classes" }, ...this.answers);
    return [
      create("div", { class: "ends" }, picture, gray, answers),
      create("div", { class: "layers" }, ...others),
      this.arithmetic,
    ];
  }

  /** Show a picture, given by its red, green and blue bytes in the network's size, and return the probabilities. */
  show(rgb) {
    this.rgb = rgb;
    const [height, width] = this.size;
    this.outputs = layerOutputs(this.network, grayscale(rgb, height, width));
    this.drawColor();
    for (const [position, view] of this.maps.entries()) {
      view.show(this.outputs[position]);
    }
    const probabilities = this.outputs[this.last];
    const largest = Math.max(...probabilities);
    this.answers.forEach((button, index) => {
      button.classList.toggle("largest", probabilities[index] === largest);
      button.querySelector("b").style.width = `${100 * probabilities[index]}%`;
      button.querySelector("data").textContent = percent(probabilities[index]);
      button.querySelector("data").value = String(probabilities[index]);
    });
    if (this.chosen) {
      this.explain();
    } else {
      this.arithmetic.replaceChildren(create("p", {}, HINT));
    }
    return probabilities;
  }

  /** @param {[number, number]} chosen The position of a layer, and the index of one of its values. */
  choose(chosen) {
    if (this.outputs) {
      this.chosen = chosen;
      const [title, sentence] = this.explain();
      this.speak(`${title.textContent}. ${sentence.textContent}`);
    }
  }

  /** Show the arithmetic of the chosen value, and return its elements: a title, a sentence and others. */
  explain() {
    const [position, index] = this.chosen;
    const layer = this.network.layers[position];
    const map = layer.kind === "pooling" ? mapOf(layer, index) : null;
    this.maps.forEach((view, other) => {
      const source = other === position - 1 ? { rectangle: sourceOf(layer, index, position === 1), map } : null;
      view.mark(other === position ? index : null, source);
    });
    const elements = position
      ? explanation(this.network, position, this.outputs, index)
      : explainedGray(nameOf(layer, index, true), this.rgb.slice(3 * index, 3 * index + 3), this.outputs[0][index]);
    const close = create("button", { type: "button" }, "Close");
    close.addEventListener("click", () => this.explainNothing());
    this.arithmetic.replaceChildren(...elements, close);
    return elements;
  }

  explainNothing() {
    this.chosen = null;
    for (const view of this.maps) {
      view.mark(null, null);
    }
    this.arithmetic.replaceChildren(
      create("p", {}, "Point at a value, tap it, or go to it by keyboard: here comes its arithmetic."),
    );
  }

  drawColor() {
    const [rows, columns] = this.size;
    const image = new ImageData(columns, rows);
    for (let pixel = 0; pixel < rows * columns; pixel += 1) {
      image.data.set([...this.rgb.subarray(3 * pixel, 3 * pixel + 3), 255], 4 * pixel);
    }
    this.color.width = columns;
    this.color.height = rows;
    this.color.getContext("2d").putImageData(image, 0, 0);
  }
}

/** Tell whether a layer may have negative values; pooling keeps those of the layer before. */
function isSigned(layers, position) {
  const { kind, nonlinearity } = layers[position];
  return kind === "pooling" ? isSigned(layers, position - 1) : !["rectify", "sigmoid"].includes(nonlinearity);
}

function mapOf(layer, index) {
  return Math.floor(index / (layer.shape[1] * layer.shape[2]));
}

function answer(name, onChoice) {
  const bar = create("span", { class: "bar" }, create("b"));
  const button = create("button", { type: "button" }, create("span", {}, name), bar, create("data"));
  for (const event of ["pointerenter", "focus", "click"]) {
    button.addEventListener(event, onChoice);
  }
  return button;
}
