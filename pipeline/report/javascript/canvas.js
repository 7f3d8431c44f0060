// Draw values as squares in shades of gray, many maps on one canvas.

/**
 * Return how maps lie on a canvas: the number of maps in a row and the sizes in pixels of the canvas.
 * @param {number[]} maps [count, rows, columns]
 * @param {number} across Maps in a row.
 * @param {number} width At least so wide is the canvas, as far as whole squares allow.
 */
export function gridOf([count, rows, columns], across, width) {
  const gap = 4;
  const pixel = Math.max(1, Math.ceil((width - (across - 1) * gap) / (across * columns)));
  const [right, down] = [columns * pixel + gap, rows * pixel + gap];
  const lines = Math.ceil(count / across);
  return { count, rows, columns, across, pixel, right, down, width: across * right - gap, height: lines * down - gap };
}

/** Return the rectangle {x, y, width, height} of a part of a map, in the canvas's pixels. */
export function placeOnGrid(grid, map, { row, column, rows, columns }) {
  return {
    x: (map % grid.across) * grid.right + column * grid.pixel,
    y: Math.floor(map / grid.across) * grid.down + row * grid.pixel,
    width: columns * grid.pixel,
    height: rows * grid.pixel,
  };
}

/** Return the index of the value at a point of the canvas, in a gap of the value before it, or null where no map is. */
export function indexAt(grid, x, y) {
  const map = Math.floor(y / grid.down) * grid.across + Math.floor(x / grid.right);
  const row = Math.min(Math.floor((y % grid.down) / grid.pixel), grid.rows - 1);
  const column = Math.min(Math.floor((x % grid.right) / grid.pixel), grid.columns - 1);
  const isValue = x >= 0 && y >= 0 && x < grid.width && map < grid.count;
  return isValue ? (map * grid.rows + row) * grid.columns + column : null;
}

/**
 * Draw maps on a canvas, as squares from black for `least` to white for `largest`.
 * @param {ArrayLike<number>} values Map by map and row by row.
 */
export function drawMaps(canvas, grid, values, least, largest) {
  const small = smallPicture(grid, values, least, largest);
  const whole = { row: 0, column: 0, rows: grid.rows, columns: grid.columns };
  canvas.width = grid.width;
  canvas.height = grid.height;
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  for (let map = 0; map < grid.count; map += 1) {
    const { x, y, width, height } = placeOnGrid(grid, map, whole);
    context.drawImage(small, 0, map * grid.rows, grid.columns, grid.rows, x, y, width, height);
  }
}

/** Return a canvas with a pixel for each value, one map below the other. */
function smallPicture({ count, rows, columns }, values, least, largest) {
  const factor = largest > least ? 255 / (largest - least) : 0;
  const image = new ImageData(columns, count * rows);
  // A whole pixel is written at once, which is faster than its four bytes.
  const pixels = new Uint32Array(image.data.buffer);
  for (let index = 0; index < pixels.length; index += 1) {
    pixels[index] = 0xff000000 + Math.round((values[index] - least) * factor) * 0x010101;
  }
  const canvas = document.createElement("canvas");
  canvas.width = image.width;
  canvas.height = image.height;
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

/** Return the largest of values without their signs. */
export function largestAbsolute(/** @type {Iterable<number>} */ values) {
  let largest = 0;
  for (const value of values) {
    largest = Math.max(largest, Math.abs(value));
  }
  return largest;
}
