// Crop a picture to its middle, scale it and lay it on white, with the bytes of Pillow's ImageOps.fit: libImaging's
// Resample.c, Convert.c and AlphaComposite.c.

/** Weights are whole numbers, multiples of 2 ** -22. */
const WEIGHT_BITS = 22;
const HALF_WEIGHT = 1 << (WEIGHT_BITS - 1);

/** Half the width of the bicubic filter, in pixels of the smaller picture. */
const SUPPORT = 2;

/**
 * @typedef {object} Rows A picture that is read once, from some row on downwards.
 * @property {number} width
 * @property {number} height
 * @property {(row: number) => Uint8Array | Uint8ClampedArray} row Returns the RGBA bytes of a row, until the next call.
 */

/**
 * Crop a picture to its middle and scale it by bicubic interpolation.
 * @param {Rows} picture
 * @param {number} height Of the result, as is the width.
 * @param {number} width
 * @returns {Uint8Array} RGB, on white where the picture is transparent.
 */
export function fit(picture, height, width) {
  const rgb = new Uint8Array(3 * width * height);
  const isOfThisSize = picture.width === width && picture.height === height;
  const small = isOfThisSize ? picture : scaledPicture(picture, height, width);
  for (let y = 0; y < height; y += 1) layOnWhite(small.row(y), rgb.subarray(3 * width * y, 3 * width * (y + 1)));
  return rgb;
}

function scaledPicture(picture, height, width) {
  const box = middleBox(picture, width / height);
  const across = filterWeights(picture.width, box.left, box.right, width);
  const down = filterWeights(picture.height, box.top, box.bottom, height);
  const colors = premultiplied(picture);
  // The order decides how values are rounded. Pillow has had this one since its version 13.
  const isDownFirst = picture.height > height && picture.height - height > 2 * (picture.width - width);
  return unpremultiplied(
    isDownFirst ? scaledAcross(scaledDown(colors, down), across) : scaledDown(scaledAcross(colors, across), down),
  );
}

/** Return the largest box of a shape in the middle of a picture. Pillow keeps its edges in 32-bit floats. */
function middleBox(picture, ratio) {
  const isWider = picture.width / picture.height >= ratio;
  const width = isWider ? ratio * picture.height : picture.width;
  const height = isWider ? picture.height : picture.width / ratio;
  const [left, top] = [(picture.width - width) * 0.5, (picture.height - height) * 0.5];
  return {
    left: Math.fround(left),
    top: Math.fround(top),
    right: Math.fround(left + width),
    bottom: Math.fround(top + height),
  };
}

/** Return for each pixel of the result the first pixel that counts, and the weights of it and the next ones. */
function filterWeights(size, first, end, count) {
  const scale = Math.fround(end - first) / count;
  const stretch = Math.max(scale, 1); // a filter wider than a pixel of the result makes every pixel count
  const narrowing = 1 / stretch;
  return Array.from({ length: count }, (_, place) => {
    const center = first + (place + 0.5) * scale;
    const start = Math.max(0, Math.trunc(center - SUPPORT * stretch + 0.5));
    const stop = Math.min(size, Math.trunc(center + SUPPORT * stretch + 0.5));
    const exact = Float64Array.from({ length: stop - start }, (__, index) =>
      bicubic((start + index - center + 0.5) * narrowing),
    );
    const sum = exact.reduce((total, weight) => total + weight, 0);
    return { start, weights: Int32Array.from(exact, (weight) => roundedWeight((weight / sum) * 2 ** WEIGHT_BITS)) };
  });
}

function bicubic(distance) {
  const x = Math.abs(distance);
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * -0.5;
  return 0;
}

function roundedWeight(value) {
  return Math.trunc(value < 0 ? value - 0.5 : value + 0.5);
}

/** Return a picture scaled along its rows, to as many pixels as there are weights. */
function scaledAcross({ height, row }, across) {
  const target = new Uint8Array(4 * across.length);
  const sums = new Int32Array(4);
  const scaledRow = (y) => {
    const source = row(y);
    across.forEach(({ start, weights }, x) => {
      sums.fill(HALF_WEIGHT);
      weigh(source, 4 * start, weights, sums);
      for (let channel = 0; channel < 4; channel += 1) target[4 * x + channel] = clippedByte(sums[channel]);
    });
    return target;
  };
  return { width: across.length, height, row: scaledRow };
}

/** Add to the sums of the channels the weighted pixels that begin at a place. */
function weigh(source, place, weights, sums) {
  let [red, green, blue, alpha] = sums;
  for (let index = 0, at = place; index < weights.length; index += 1, at += 4) {
    const weight = weights[index];
    red = (red + Math.imul(source[at], weight)) | 0;
    green = (green + Math.imul(source[at + 1], weight)) | 0;
    blue = (blue + Math.imul(source[at + 2], weight)) | 0;
    alpha = (alpha + Math.imul(source[at + 3], weight)) | 0;
  }
  sums.set([red, green, blue, alpha]);
}

function clippedByte(sum) {
  return Math.max(0, Math.min(255, sum >> WEIGHT_BITS));
}

/** Return a picture scaled along its columns. Its rows are read now, each added to the rows where it counts. */
function scaledDown({ width, row }, down) {
  const sums = down.map(() => new Int32Array(4 * width).fill(HALF_WEIGHT));
  const last = down[down.length - 1];
  for (let y = down[0].start; y < last.start + last.weights.length; y += 1) {
    const source = row(y);
    down.forEach(({ start, weights }, index) => {
      if (y >= start && y < start + weights.length) addWeighted(source, weights[y - start], sums[index]);
    });
  }
  const rows = sums.map((sum) => Uint8Array.from(sum, clippedByte));
  return { width, height: down.length, row: (y) => rows[y] };
}

function addWeighted(source, weight, sums) {
  for (let index = 0; index < sums.length; index += 1) sums[index] += Math.imul(source[index], weight);
}

/** Return a picture with its colors multiplied by their opacity, so that a transparent color counts as nothing. */
function premultiplied(picture) {
  const target = new Uint8Array(4 * picture.width);
  const row = (y) => {
    const source = picture.row(y);
    for (let at = 0; at < target.length; at += 4) {
      const alpha = source[at + 3];
      for (let channel = at; channel < at + 3; channel += 1) {
        const product = source[channel] * alpha + 128;
        target[channel] = ((product >> 8) + product) >> 8;
      }
      target[at + 3] = alpha;
    }
    return target;
  };
  return { ...picture, row };
}

function unpremultiplied(picture) {
  const row = (y) => {
    const rgba = picture.row(y);
    for (let at = 0; at < rgba.length; at += 4) {
      const alpha = rgba[at + 3];
      for (let channel = at; channel < at + 3 && alpha > 0; channel += 1) {
        rgba[channel] = Math.min(255, Math.trunc((255 * rgba[channel]) / alpha));
      }
    }
    return rgba;
  };
  return { ...picture, row };
}

function layOnWhite(rgba, rgb) {
  for (let from = 0, to = 0; to < rgb.length; from += 4, to += 3) {
    const alpha = rgba[from + 3];
    for (let channel = 0; channel < 3; channel += 1) {
      const sum = (rgba[from + channel] * alpha + 255 * (255 - alpha) + 128) << 7;
      rgb[to + channel] = ((sum >> 8) + sum) >> 15;
    }
  }
}
