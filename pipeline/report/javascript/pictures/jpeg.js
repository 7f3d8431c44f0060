// Read a JPEG through the browser's decoder, which computes the same pixels as Pillow's, row by row.

import { checkSize, exifOrientation, latin1, tooLarge, upright, xmpOrientation } from "./metadata.js";

export const JPEG_SIGNATURE = "\xff\xd8\xff";

const SCAN_MARKER = 0xda;
const FRAME_MARKERS = [0xc0, 0xc1, 0xc2, 0xc3, 0xc5, 0xc6, 0xc7, 0xc9, 0xca, 0xcb, 0xcd, 0xce, 0xcf];
const EXIF_OR_XMP_MARKER = 0xe1;
const COLOR_PROFILE_MARKER = 0xe2;
const END_MARKER = 0xd9;

/** The most pixels that are on the canvas at once: the canvas of a phone holds no large picture. */
const STRIP_PIXELS = 2 ** 20;

/**
 * Take the metadata out of a JPEG: browsers differ in what they do with them.
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @returns {{parts: Uint8Array<ArrayBuffer>[], orientation: number}} What is left, and how the picture is turned.
 *   Throws an Error that tells what is wrong if the file is damaged or its picture too large.
 */
export function withoutMetadata(bytes) {
  const parts = [bytes.subarray(0, 2)];
  const orientations = {};
  let start = 2;
  for (let marker = 0; marker !== SCAN_MARKER; ) {
    while (bytes[start] === 0xff && bytes[start + 1] === 0xff) start += 1; // a marker may begin with several of these
    const end = start + 2 + ((bytes[start + 2] << 8) | bytes[start + 3]);
    if (bytes[start] !== 0xff || end > bytes.length) throw damagedJpeg();
    marker = bytes[start + 1];
    const content = bytes.subarray(start + 4, end);
    if (FRAME_MARKERS.includes(marker)) checkSize((content[3] << 8) | content[4], (content[1] << 8) | content[2]);
    if (marker === EXIF_OR_XMP_MARKER) readOrientation(content, orientations);
    if (marker !== EXIF_OR_XMP_MARKER && marker !== COLOR_PROFILE_MARKER) parts.push(bytes.subarray(start, end));
    start = end;
  }
  if (!hasEnd(bytes, start)) throw damagedJpeg(); // some browsers show what there is
  return { parts: [...parts, bytes.subarray(start)], orientation: orientations.exif ?? orientations.xmp ?? 1 };
}

function damagedJpeg() {
  return new Error("The JPEG is damaged, or this browser does not know its kind.");
}

function readOrientation(content, orientations) {
  const name = latin1(content.subarray(0, 29));
  if (name.startsWith("Exif\0\0")) orientations.exif ??= exifOrientation(content);
  if (name === "http://ns.adobe.com/xap/1.0/\0") orientations.xmp = xmpOrientation(content);
}

function hasEnd(bytes, start) {
  for (let at = bytes.indexOf(0xff, start); at !== -1; at = bytes.indexOf(0xff, at + 1)) {
    if (bytes[at + 1] === END_MARKER) return true;
  }
  return false;
}

/**
 * Decode a JPEG in a browser.
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @returns {Promise<import("./resample.js").Rows>} The picture, upright. Rejected with an Error that tells what is
 *   wrong if the file is damaged or the picture too large.
 */
export async function decodeJpeg(bytes) {
  const { parts, orientation } = withoutMetadata(bytes);
  /** @type {ImageBitmapOptions} */
  const asStored = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
  let bitmap;
  try {
    bitmap = await createImageBitmap(new Blob(parts, { type: "image/jpeg" }), asStored);
  } catch {
    throw damagedJpeg();
  }
  return bitmapRows(bitmap, orientation);
}

function bitmapRows(bitmap, orientation) {
  const { width, height, swapped, flippedX, flippedY } = upright(orientation, bitmap.width, bitmap.height);
  const [x, y] = [flippedX ? -1 : 1, flippedY ? -1 : 1];
  const [a, b, c, d] = swapped ? [0, y, x, 0] : [x, 0, 0, y];
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = Math.min(height, Math.ceil(STRIP_PIXELS / width));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  let [top, strip] = [-Infinity, null];
  const row = (wanted) => {
    if (wanted >= top + canvas.height) {
      top = wanted;
      context.setTransform(a, b, c, d, flippedX ? width : 0, (flippedY ? height : 0) - top);
      context.drawImage(bitmap, 0, 0);
      strip = context.getImageData(0, 0, width, canvas.height).data;
      if (strip[3] === 0) throw tooLarge(width, height); // a canvas that is too large stays empty
    }
    return strip.subarray(4 * width * (wanted - top), 4 * width * (wanted - top + 1));
  };
  return { width, height, row };
}
