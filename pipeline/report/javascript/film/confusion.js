// A confusion matrix: a row for each true class, a column for each predicted class. It looks as in the section Classes.

import { colorOf, create } from "../dom.js";

/** A matrix of more classes has no names and no counts: they would overlap. */
const MOST_NAMED = 25;

/** Maximum number of letters that a name takes beside the matrix. */
const LONGEST_NAME = 12;

/** Opacity of a cell that holds its whole row. */
const DEEPEST = 0.7;

/**
 * Make a confusion matrix, with a sentence on the most frequent mistake.
 * @param {string[]} classes
 * @param {Uint32Array[]} counts Any that will be shown: each has as many images in a row.
 * @returns {{nodes: Node[], show: (counts: Uint32Array[]) => void}} `show` fills the nodes.
 */
export function confusionMatrix(classes, counts) {
  const matrix = classes.length > MOST_NAMED ? confusionPicture() : confusionTable(classes, counts);
  const mistake = create("p", { class: "quiet" });
  const show = (shown) => {
    matrix.show(shown);
    mistake.textContent = mistakeText(shown, classes);
  };
  return { nodes: [matrix.node, mistake], show };
}

function confusionTable(classes, counts) {
  const names = Math.min(LONGEST_NAME, Math.max(...classes.map((name) => name.length)));
  const digits = String(Math.max(...counts.map(sumOf))).length;
  const cells = classes.map((_, label) =>
    classes.map((__, predicted) => create("td", { class: label === predicted ? "right" : "wrong" })),
  );
  const heads = classes.map((name) => create("th", { scope: "col" }, create("span", {}, name)));
  const rows = cells.map((row, label) => create("tr", {}, create("th", { scope: "row" }, classes[label]), ...row));
  const table = create(
    "table",
    { style: `--classes: ${classes.length}; --names: ${names}; --digits: ${digits}` },
    create("caption", {}, "Rows: true class. Columns: predicted class."),
    create("thead", {}, create("tr", {}, create("td"), ...heads)),
    create("tbody", {}, ...rows),
  );
  const name = "Confusion matrix of the validation images";
  const show = (shown) => {
    for (const [label, row] of cells.entries()) {
      fillRow(row, shown[label]);
    }
  };
  return { node: create("div", { class: "matrix", role: "region", tabindex: 0, "aria-label": name }, table), show };
}

function fillRow(cells, counts) {
  const images = sumOf(counts);
  cells.forEach((cell, predicted) => {
    cell.textContent = counts[predicted];
    cell.style.setProperty("--depth", cellDepth(counts[predicted], images));
  });
}

function confusionPicture() {
  const name = "Confusion matrix of the validation images: rows are true classes, columns predicted classes";
  const node = create("canvas", { role: "img", "aria-label": name });
  return { node, show: (counts) => drawCells(node, counts) };
}

/** Draw a pixel for each cell, in the colours that the page has now. */
function drawCells(canvas, counts) {
  canvas.width = counts.length;
  canvas.height = counts.length;
  const context = canvas.getContext("2d");
  const [right, wrong] = ["--blue", "--vermilion"].map((name) => colorOf(canvas, name));
  counts.forEach((row, label) => {
    const images = sumOf(row);
    row.forEach((count, predicted) => {
      context.fillStyle = label === predicted ? right : wrong;
      context.globalAlpha = cellDepth(count, images);
      context.fillRect(predicted, label, 1, 1);
    });
  });
}

/** The root makes small shares, the errors, visible. */
function cellDepth(count, images) {
  return DEEPEST * Math.sqrt(count / Math.max(1, images));
}

function mistakeText(counts, classes) {
  const most = mostConfused(counts);
  if (!most) {
    return "Every image is classified correctly.";
  }
  const pair = `${classes[most.label]} classified as ${classes[most.predicted]}`;
  const [count, images] = [most.count, sumOf(counts[most.label])].map((number) => number.toLocaleString("en"));
  return `Most frequent mistake: ${pair}, ${count} of ${images}.`;
}

/**
 * Return the most frequent mistake of a confusion matrix, or null if there is none.
 * @param {Uint32Array[]} counts
 */
export function mostConfused(counts) {
  let most = null;
  counts.forEach((row, label) => {
    row.forEach((count, predicted) => {
      if (label !== predicted && count > (most ? most.count : 0)) {
        most = { label, predicted, count };
      }
    });
  });
  return most;
}

function sumOf(values) {
  return values.reduce((total, value) => total + value, 0);
}
