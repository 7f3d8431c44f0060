// What a picture's file tells beside its pixels: how many there are, and how they are turned.

/** The most pixels that Pillow reads, twice its MAX_IMAGE_PIXELS. */
const MAX_PIXELS = 178956970;

const ORIENTATION_TAG = 0x0112;
const EXIF_SHORT = 3;
const EXIF_LONG = 4;

/**
 * Throw an Error if a picture has more pixels than Pillow reads.
 * @param {number} width
 * @param {number} height
 */
export function checkSize(width, height) {
  if (width * height > MAX_PIXELS) {
    throw new Error(`The picture has ${width} × ${height} pixels; expected at most ${MAX_PIXELS}. Make it smaller.`);
  }
}

/**
 * Return the Error for a picture of which the browser cannot hold so many pixels.
 * @param {number} width
 * @param {number} height
 */
export function tooLarge(width, height) {
  return new Error(`The picture has ${width} × ${height} pixels, too many for this browser. Make it smaller.`);
}

/**
 * Return the text whose characters have these bytes as their codes. A browser's TextDecoder knows no such encoding.
 * @param {Uint8Array} bytes
 */
export function latin1(bytes) {
  return Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
}

/**
 * Return the orientation in EXIF data: 1 to 8, or undefined if they have none.
 * @param {Uint8Array} exif
 */
export function exifOrientation(exif) {
  const start = latin1(exif.subarray(0, 6)) === "Exif\0\0" ? 6 : 0;
  const view = new DataView(exif.buffer, exif.byteOffset + start, exif.byteLength - start);
  try {
    return orientationIn(view, latin1(exif.subarray(start, start + 2)) === "II");
  } catch {
    return undefined; // an offset that points outside the data
  }
}

function orientationIn(view, littleEndian) {
  const directory = view.getUint32(4, littleEndian);
  const count = view.getUint16(directory, littleEndian);
  for (let index = 0; index < count; index += 1) {
    const entry = directory + 2 + 12 * index;
    if (view.getUint16(entry, littleEndian) === ORIENTATION_TAG) {
      const kind = view.getUint16(entry + 2, littleEndian);
      if (kind === EXIF_SHORT) return view.getUint16(entry + 8, littleEndian);
      if (kind === EXIF_LONG) return view.getUint32(entry + 8, littleEndian);
    }
  }
  return undefined;
}

/**
 * Return the orientation in XMP data: 0 to 9, or undefined if they have none.
 * @param {Uint8Array} xmp
 */
export function xmpOrientation(xmp) {
  const found = /tiff:Orientation(?:="|>)([0-9])/.exec(latin1(xmp));
  return found ? Number(found[1]) : undefined;
}

/**
 * Return how a stored picture becomes an upright one: first its axes are swapped, then the result is flipped.
 * @param {number} orientation 1 to 8; anything else leaves the picture as it is.
 * @param {number} width Of the stored picture, as is the height.
 * @param {number} height
 * @returns {{width: number, height: number, swapped: boolean, flippedX: boolean, flippedY: boolean}}
 */
export function upright(orientation, width, height) {
  const swapped = [5, 6, 7, 8].includes(orientation);
  return {
    width: swapped ? height : width,
    height: swapped ? width : height,
    swapped,
    flippedX: [2, 3, 6, 7].includes(orientation),
    flippedY: [3, 4, 7, 8].includes(orientation),
  };
}
