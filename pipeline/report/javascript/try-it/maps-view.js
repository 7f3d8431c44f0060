// Show a layer's values as maps on a canvas, of which a pointer or the arrow keys choose a value.

import { drawMaps, gridOf, indexAt, largestAbsolute, placeOnGrid } from "../canvas.js";
import { colorOf, counted, create } from "../dom.js";
import { asMaps, placeOf } from "./arithmetic.js";
import { product } from "./network.js";

const WIDTH = 640;
/** Rows and columns that each arrow key goes. */
const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

export class MapsView {
  /**
   * @param {{name: string, shape: number[]}} layer
   * @param {{isImage: boolean, isSigned: boolean}} kind Whether it is the image; whether it may have negative values.
   * @param {(index: number | null) => void} onChoice Called with the chosen value, and with null when there is none.
   */
  constructor(layer, { isImage, isSigned }, onChoice) {
    this.maps = asMaps(layer.shape, isImage);
    this.isImage = isImage;
    this.isSigned = isSigned;
    this.grid = gridOf(this.maps, acrossOf(this.maps), WIDTH);
    this.onChoice = onChoice;
    this.chosen = null;
    this.source = null;
    this.canvas = create("canvas", {
      tabindex: 0,
      role: "application",
      "aria-label": `${titleOf(layer, this.maps)}; arrow keys choose a value`,
    });
    this.element = create(
      "figure",
      { class: "maps" },
      create("figcaption", {}, titleOf(layer, this.maps)),
      this.canvas,
    );
    this.listen();
  }

  listen() {
    const choose = (event) => this.choose(this.indexUnder(event));
    this.canvas.addEventListener("pointermove", choose);
    this.canvas.addEventListener("pointerdown", choose);
    this.canvas.addEventListener("focus", () => {
      if (this.canvas.matches(":focus-visible")) {
        this.choose(this.chosen ?? 0); // a pointer chooses by its place
      }
    });
    this.canvas.addEventListener("keydown", (event) => {
      const isShortcut = event.altKey || event.ctrlKey || event.metaKey; // as Alt with an arrow, to the page before
      if (event.key in STEPS && !isShortcut) {
        event.preventDefault();
        this.choose(this.neighbour(...STEPS[event.key]));
      }
    });
  }

  /** Show the layer's values for an image. */
  show(values) {
    this.values = values;
    this.draw();
  }

  /**
   * Outline a value, or none, and what a value of the next layer is made of: a rectangle in each map, or in one.
   * @param {number | null} chosen
   * @param {{rectangle: object, map: number | null} | null} source
   */
  mark(chosen, source) {
    const isOther = chosen !== this.chosen || source !== this.source;
    this.chosen = chosen;
    this.source = source;
    if (isOther) {
      this.draw();
    }
  }

  choose(index) {
    if (index !== null && index !== this.chosen) {
      this.onChoice(index);
    }
  }

  indexUnder(event) {
    const factor = this.canvas.width / this.canvas.clientWidth;
    return indexAt(this.grid, event.offsetX * factor, event.offsetY * factor);
  }

  /** Return the index of a value a few rows or columns away, in the next map if need be. */
  neighbour(down, right) {
    const { across, rows, columns, count } = this.grid;
    const { channel, row, column } = placeOf(this.maps, this.chosen ?? 0);
    const y = Math.floor(channel / across) * rows + row + down;
    const x = (channel % across) * columns + column + right;
    const map = Math.floor(y / rows) * across + Math.floor(x / columns);
    const isInside = x >= 0 && y >= 0 && x < across * columns && map < count;
    return isInside ? (map * rows + (y % rows)) * columns + (x % columns) : this.chosen;
  }

  draw() {
    drawMaps(this.canvas, this.grid, ...this.brightness());
    if (this.chosen !== null) {
      const { channel, row, column } = placeOf(this.maps, this.chosen);
      this.outline([channel], { row, column, rows: 1, columns: 1 }, "--vermilion");
    }
    if (this.source) {
      const { map, rectangle } = this.source;
      this.outline(map === null ? Array(this.grid.count).keys() : [map], rectangle, "--blue");
    }
  }

  /**
   * Return the brightness of each value, that of black and that of white.
   * @returns {[Float32Array, number, number]}
   */
  brightness() {
    if (this.isImage) {
      return [this.values, -0.5, 0.5];
    }
    const largest = largestAbsolute(this.values);
    // A screen shows a number as light in proportion to its 2.2th power; the root undoes this for positive values.
    return this.isSigned ? [this.values, -largest, largest] : [this.values.map(Math.sqrt), 0, Math.sqrt(largest)];
  }

  outline(maps, rectangle, color) {
    const context = this.canvas.getContext("2d");
    context.strokeStyle = colorOf(this.canvas, color);
    context.lineWidth = 4;
    for (const map of maps) {
      const { x, y, width, height } = placeOnGrid(this.grid, map, rectangle);
      context.strokeRect(x - 1, y - 1, width + 2, height + 2);
    }
  }
}

/** Return how many maps lie in a row: about as many as in a column, and so that all rows are full if possible. */
function acrossOf([count]) {
  const square = Math.ceil(Math.sqrt(count));
  const full = Array.from({ length: square }, (_, more) => square + more).find((across) => count % across === 0);
  return full ?? square;
}

function titleOf({ name, shape }, [count, rows, columns]) {
  return product(shape) === count
    ? `${name}: ${counted(count, "unit")}`
    : `${name}: ${count === 1 ? "" : `${count} maps of `}${rows} × ${columns}`;
}
