// What a film shows of an epoch. Each function fills a place of the section for a film, and returns what shows a frame.

import { drawMaps, gridOf } from "../canvas.js";
import { create, percent } from "../dom.js";
import { confusionMatrix } from "./confusion.js";
import { drawCurves } from "./curves.js";
import { likeliestOther, together, WHOLE } from "./frames.js";

/** The columns of a film's rows, with the lines of their curves. */
const FIGURES = [
  { name: "training loss", line: "train", text: (loss) => loss.toFixed(3) },
  { name: "validation loss", line: "valid", text: (loss) => loss.toFixed(3) },
  { name: "validation accuracy", line: "valid", text: (accuracy) => `${(100 * accuracy).toFixed(1)}%` },
];

/** Pixels of a canvas on which a unit's picture is drawn, at least; the style makes it larger or smaller. */
const FILTER_WIDTH = 128;

/**
 * The functions, by the places that they fill.
 * @type {Object<string, (root: HTMLElement, film: any) => (frame: number) => void>}
 */
export const FILM_PARTS = {
  curves: fillCurves,
  figures: fillFigures,
  confusion: fillConfusion,
  layer: fillLayer,
  images: fillImages,
};

/** Write a row of a film. */
export function figuresText(row) {
  return FIGURES.map(({ name, text }, column) => `${name} ${text(row[column])}`).join(", ");
}

function fillCurves(root, film) {
  const behind = film.article.length ? ", in front of the article’s runs" : "";
  const description = `Losses and accuracy of the ${film.title} by epoch${behind}. The table has their figures.`;
  const { svg, show } = drawCurves(film, description);
  root.replaceChildren(svg);
  return show;
}

/** The table is also the legend of the curves. */
function fillFigures(root, film) {
  const own = figuresRow("this training");
  const article = film.article.map(({ label, rows }, run) => ({ ...figuresRow(label, `run-${run}`), rows }));
  const heads = FIGURES.map(({ name, line }) => create("th", { scope: "col", class: "number" }, lineKey(line), name));
  const table = create(
    "table",
    {},
    create("caption", {}, "After this epoch"),
    create("thead", {}, create("tr", {}, create("td"), ...heads)),
    create("tbody", {}, own.node, ...article.map(({ node }) => node)),
  );
  root.replaceChildren(table);
  return (frame) => {
    own.show(film.rows[frame]);
    for (const { show, rows } of article) {
      show(rows[film.epochs[frame] - 1]);
    }
  };
}

function figuresRow(label, line) {
  const cells = FIGURES.map(() => create("td", { class: "number" }));
  const name = create("th", { scope: "row" }, ...(line ? [lineKey(line)] : []), label);
  const cellContent = (value, { text }) => (value === undefined ? "–" : create("data", { value }, text(value)));
  const show = (row = []) => {
    for (const [column, cell] of cells.entries()) {
      cell.replaceChildren(cellContent(row[column], FIGURES[column]));
    }
  };
  return { node: create("tr", {}, name, ...cells), show };
}

function lineKey(line) {
  return create("i", { class: `key ${line}` });
}

function fillConfusion(root, film) {
  const matrix = (frame) => film.classes.map((_, label) => film.counts(frame, label));
  const { nodes, show } = confusionMatrix(film.classes, matrix(0));
  root.replaceChildren(...nodes);
  return (frame) => show(matrix(frame));
}

function fillLayer(root, film) {
  root.hidden = !film.filters;
  if (root.hidden) {
    return () => {};
  }
  const { layer, units, shown, rows, columns, levels } = film.filters;
  const grid = gridOf([1, rows, columns], 1, FILTER_WIDTH);
  const canvases = Array.from({ length: shown }, () => create("canvas"));
  const title = `Weights of ${shown < units ? `${shown} of ` : ""}${units} units of ${layer}`;
  const style = `--across: ${shown}; --across-narrow: ${Math.ceil(shown / 2)}`;
  root.replaceChildren(
    create("h3", {}, title),
    create("div", { class: "film-filters", role: "img", "aria-label": `${title}, a picture each`, style }, ...canvases),
  );
  return (frame) => {
    for (const [unit, canvas] of canvases.entries()) {
      drawMaps(canvas, grid, film.shades(frame, unit), -levels, levels);
    }
  };
}

function fillImages(root, film) {
  const images = film.images.map((index, place) => filmImage(film, index, place));
  root.replaceChildren(...images.map(({ node }) => node));
  return together(images.map(({ show }) => show));
}

/** Show a test image with the probabilities of its class and of the most probable other class. */
function filmImage(film, index, place) {
  const { classes } = film;
  const { picture, label } = film.pictures[index];
  const own = answerLines();
  const rival = answerLines();
  const image = create("img", { src: picture, alt: `Test image ${index} (${classes[label]})` });
  const caption = create("figcaption", {}, ...own.nodes, ...(classes.length > 1 ? rival.nodes : []));
  const node = create("figure", {}, image, caption);
  const show = (frame) => {
    const probabilities = film.probabilities(frame, place);
    const other = likeliestOther(probabilities, label);
    const isRight = classes.length === 1 || probabilities[label] >= probabilities[other];
    node.className = isRight ? "right" : "wrong";
    own.show(classes[label], probabilities[label], isRight);
    rival.show(classes[other], probabilities[other], !isRight);
  };
  return { node, show };
}

/** Make the lines of a class and of its probability; the name of the most probable class is strong. */
function answerLines() {
  const name = create("span");
  const bar = create("b");
  const share = create("data");
  const show = (title, probability, isAnswer) => {
    name.replaceChildren(isAnswer ? create("strong", {}, title) : title);
    bar.style.width = `${(100 * probability) / WHOLE}%`;
    share.setAttribute("value", String(probability / WHOLE));
    share.textContent = percent(probability / WHOLE);
  };
  return { nodes: [name, create("span", { class: "film-share" }, create("span", { class: "bar" }, bar), share)], show };
}
