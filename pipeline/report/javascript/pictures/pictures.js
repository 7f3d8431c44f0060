// Read a picture as `pipeline.inference.pictures` does: of any size, as a small one of the network's.

import { decodeJpeg, JPEG_SIGNATURE } from "./jpeg.js";
import { latin1, upright } from "./metadata.js";
import { decodePng, PNG_SIGNATURE } from "./png.js";
import { fit } from "./resample.js";

/** @type {[RegExp, string][]} */
const OTHER_KINDS = [
  [/^GIF8/, "a GIF"],
  [/^RIFF....WEBP/s, "a WebP"],
  [/^....ftypavi/s, "an AVIF"],
  [/^....ftyp(hei|hev|mif1|msf1)/s, "a HEIC"],
  [/^BM/, "a BMP"],
  [/^(II\*\0|MM\0\*)/, "a TIFF"],
  [/^%PDF/, "a PDF"],
  [/^\s*<\??(svg|xml)/i, "an SVG"],
  [/^$/, "empty"],
];

/**
 * Read a picture file: PNG or JPEG, turned upright, cropped to its middle and scaled.
 * @param {Blob} blob
 * @param {number} height Of the result, as is the width.
 * @param {number} width
 * @returns {Promise<{rgb: Uint8Array}>} Its colors, row by row. Rejected with an Error whose message tells a person
 *   what is wrong with the file.
 */
export async function readPicture(blob, height, width) {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  const beginning = latin1(bytes.subarray(0, 16));
  if (beginning.startsWith(PNG_SIGNATURE)) return { rgb: fit(pngRows(await decodePng(bytes)), height, width) };
  if (beginning.startsWith(JPEG_SIGNATURE)) return { rgb: fit(await decodeJpeg(bytes), height, width) };
  throw new Error(`The file is ${fileKind(beginning)}; expected a PNG or a JPEG.`);
}

function fileKind(beginning) {
  return OTHER_KINDS.find(([pattern]) => pattern.test(beginning))?.[1] ?? "of an unknown kind";
}

/** Return a decoded PNG, turned. */
function pngRows({ rgba, width, height, orientation }) {
  const picture = upright(orientation, width, height);
  const [stepX, stepY] = picture.swapped ? [width, 1] : [1, width];
  const pixels = new Uint32Array(rgba.buffer);
  const turned = new Uint32Array(picture.width);
  const row = (y) => {
    let from = stepY * (picture.flippedY ? picture.height - 1 - y : y);
    let step = stepX;
    if (picture.flippedX) [from, step] = [from + stepX * (picture.width - 1), -stepX];
    for (let column = 0; column < picture.width; column += 1, from += step) turned[column] = pixels[from];
    return new Uint8Array(turned.buffer);
  };
  return { width: picture.width, height: picture.height, row };
}

/**
 * Crop and scale pixels, such as those of a canvas that was drawn on.
 * @param {Uint8Array | Uint8ClampedArray} rgba
 * @param {number} pictureWidth
 * @param {number} pictureHeight
 * @param {number} height Of the result, as is the width.
 * @param {number} width
 * @returns {{rgb: Uint8Array}}
 */
export function readPixels(rgba, pictureWidth, pictureHeight, height, width) {
  const row = (y) => rgba.subarray(4 * pictureWidth * y, 4 * pictureWidth * (y + 1));
  return { rgb: fit({ width: pictureWidth, height: pictureHeight, row }, height, width) };
}

/**
 * Convert colors to gray values from -0.5 to 0.5, as `pipeline.data.grayscale` does.
 * @param {Uint8Array} rgb
 * @param {number} height
 * @param {number} width
 * @returns {Float32Array} The values row by row.
 */
export function grayscale(rgb, height, width) {
  return Float32Array.from({ length: height * width }, (_, index) => {
    const [red, green, blue] = rgb.subarray(3 * index, 3 * index + 3);
    return (299 * red + 587 * green + 114 * blue - 127500) / 255000;
  });
}
