// A board to draw on with a mouse, a pen or a finger: white on black, as the digits of the demo are.

import { create } from "../dom.js";

const SIZE = 256;
const STROKE = 24;

/**
 * Create the board, with a button that empties it.
 * @param {(drawing: ImageData) => void} onChange Called when the drawing has changed, at most once a frame.
 */
export function drawingBoard(onChange) {
  const canvas = create("canvas", { width: SIZE, height: SIZE, role: "img", "aria-label": "Board to draw on" });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const changed = oncePerFrame(() => onChange(context.getImageData(0, 0, SIZE, SIZE)));
  const clear = () => {
    context.fillStyle = "black";
    context.fillRect(0, 0, SIZE, SIZE);
    changed();
  };
  let last = null;
  const drawTo = (event) => {
    const factor = SIZE / canvas.clientWidth;
    const point = [event.offsetX * factor, event.offsetY * factor];
    drawLine(context, last ?? point, point);
    last = point;
    changed();
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.isPrimary && event.button === 0) {
      canvas.setPointerCapture(event.pointerId);
      last = null;
      drawTo(event);
    }
  });
  canvas.addEventListener("pointermove", (event) => {
    if (canvas.hasPointerCapture(event.pointerId)) {
      drawTo(event);
    }
  });
  const button = create("button", { type: "button" }, "Clear");
  button.addEventListener("click", clear);
  const element = create("div", { class: "board" }, canvas, button);
  return { element, clear };
}

function drawLine(context, from, to) {
  context.strokeStyle = "white";
  context.lineWidth = STROKE;
  context.lineCap = "round";
  context.beginPath();
  context.moveTo(...from);
  context.lineTo(...to);
  context.stroke();
}

function oncePerFrame(action) {
  let isWaiting = false;
  return () => {
    if (!isWaiting) {
      isWaiting = true;
      requestAnimationFrame(() => {
        isWaiting = false;
        action();
      });
    }
  };
}
