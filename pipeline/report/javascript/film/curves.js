// Curves over the epochs, in SVG, whose colours are the style's.

import { together } from "./frames.js";

const CURVES = { width: 400, height: 310, left: 38, right: 394 };

/** Each panel draws columns of a film's rows, as lines of these classes. */
const CURVE_PANELS = [
  { title: "loss (cross-entropy)", top: 20, bottom: 172, columns: [0, 1], lines: ["train", "valid"], ticks: 5 },
  { title: "validation accuracy", top: 202, bottom: 284, columns: [2], lines: ["valid"], ticks: 4, percent: true },
];

/**
 * Draw a film's losses and accuracies, with the article's behind them.
 * @param {import("./frames.js").Film} film
 * @param {string} description For readers who do not see the curves.
 * @returns {{svg: SVGElement, show: (frame: number) => void}} `show` marks a frame.
 */
export function drawCurves(film, description) {
  const { width, height, left, right } = CURVES;
  const svg = createSvg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": description });
  const ends = film.article.map(({ rows }) => rows.length);
  const across = linearScale([1, ...film.epochs, ...ends], left, right, 0);
  svg.append(...epochTicks(across));
  return { svg, show: together(CURVE_PANELS.map((panel) => drawPanel(svg, panel, film, across))) };
}

function drawPanel(svg, panel, film, across) {
  const { columns, lines, top, bottom } = panel;
  const tables = [film.rows, ...film.article.map(({ rows }) => rows)];
  const down = linearScale(
    tables.flat().flatMap((row) => columns.map((column) => row[column])),
    bottom,
    top,
    0.05,
  );
  const pointsOf = (rows, epochs, column) =>
    rows.map((row, index) => [across.place(epochs[index]), down.place(row[column])]);
  const marker = createSvg("line", { class: "marker", y1: top, y2: bottom });
  svg.append(...valueTicks(panel, down), marker);
  film.article.forEach(({ rows }, run) => {
    const epochs = rows.map((_, index) => index + 1);
    svg.append(...columns.map((column) => polyline(pointsOf(rows, epochs, column), `run-${run}`)));
  });
  const moveMarker = (frame) => {
    const x = across.place(film.epochs[frame]);
    setAttributes(marker, { x1: x, x2: x });
  };
  const own = columns.map((column, index) => drawOwn(svg, pointsOf(film.rows, film.epochs, column), lines[index]));
  return together([moveMarker, ...own]);
}

/** Draw a curve faintly, and its part up to the shown frame strongly. */
function drawOwn(svg, points, name) {
  const past = polyline([], name);
  const dot = createSvg("circle", { class: name, r: 3.5 });
  svg.append(polyline(points, `${name} to-come`), past, dot);
  return (frame) => {
    setAttributes(past, { points: pointsText(points.slice(0, frame + 1)) });
    setAttributes(dot, { cx: points[frame][0], cy: points[frame][1] });
  };
}

function polyline(points, name) {
  return createSvg("polyline", { class: name, points: pointsText(points) });
}

function pointsText(points) {
  return points.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(" ");
}

function epochTicks(across) {
  const y = CURVE_PANELS[1].bottom + 14;
  const round = roundValues(1, across.high, 6).values.filter((epoch) => epoch > 1 && Number.isInteger(epoch));
  const named = [1, ...round].map((epoch) => createSvg("text", { class: "middle", x: across.place(epoch), y }, epoch));
  return [...named, createSvg("text", { class: "end", x: CURVES.right, y: y + 12 }, "epoch")];
}

function valueTicks({ title, top, ticks, percent }, down) {
  const { values, digits } = roundValues(down.low, down.high, ticks);
  const text = (value) => (percent ? `${(100 * value).toFixed(Math.max(0, digits - 2))}%` : value.toFixed(digits));
  const marks = values.flatMap((value) => {
    const y = down.place(value);
    return [
      createSvg("line", { class: "grid", x1: CURVES.left, x2: CURVES.right, y1: y, y2: y }),
      createSvg("text", { class: "end", x: CURVES.left - 6, y: y + 4 }, text(value)),
    ];
  });
  return [createSvg("text", { x: 0, y: top - 9 }, title), ...marks];
}

/** Return a linear scale of the values' range, widened at both ends by a share of it; `place` maps it to a range. */
function linearScale(values, from, to, share) {
  const least = values.reduce((one, other) => Math.min(one, other));
  const most = values.reduce((one, other) => Math.max(one, other));
  const added = most > least ? share * (most - least) : 0.5;
  const [low, high] = [least - added, most + added];
  return { low, high, place: (value) => from + ((value - low) / (high - low)) * (to - from) };
}

/**
 * Return up to `most` multiples of 1, 2 or 5 times a power of ten in a range, and their digits after the point.
 * @param {number} low
 * @param {number} high
 * @param {number} most
 */
export function roundValues(low, high, most) {
  const power = 10 ** Math.floor(Math.log10((high - low) / most));
  const counted = (step) => Math.floor(high / step) - Math.ceil(low / step) + 1;
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((width) => counted(width) <= most);
  const first = Math.ceil(low / step);
  const values = Array.from({ length: counted(step) }, (_, index) => (first + index) * step);
  return { values, digits: Math.max(0, -Math.floor(Math.log10(step))) };
}

function createSvg(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  setAttributes(element, attributes);
  element.append(...children);
  return element;
}

function setAttributes(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    element.setAttribute(name, value);
  }
}
