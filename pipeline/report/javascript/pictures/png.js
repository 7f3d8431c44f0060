// Decode a PNG as Pillow does. A browser would apply color profiles and gamma, and lose colors that are transparent.

import { inflating } from "../packed.js";
import { checkSize, exifOrientation, latin1, tooLarge, xmpOrientation } from "./metadata.js";

export const PNG_SIGNATURE = "\x89PNG\r\n\x1a\n";

const ColorType = { GRAY: 0, RGB: 2, PALETTE: 3, GRAY_ALPHA: 4, RGB_ALPHA: 6 };
const CHANNELS = {
  [ColorType.GRAY]: 1,
  [ColorType.RGB]: 3,
  [ColorType.PALETTE]: 1,
  [ColorType.GRAY_ALPHA]: 2,
  [ColorType.RGB_ALPHA]: 4,
};
const DEPTHS = {
  [ColorType.GRAY]: [1, 2, 4, 8, 16],
  [ColorType.RGB]: [8, 16],
  [ColorType.PALETTE]: [1, 2, 4, 8],
  [ColorType.GRAY_ALPHA]: [8, 16],
  [ColorType.RGB_ALPHA]: [8, 16],
};

/** The passes over a picture: the first column and row of each, and the steps to its next ones. */
const ONE_PASS = [[0, 0, 1, 1]];
const ADAM7 = [
  [0, 0, 8, 8],
  [4, 0, 8, 8],
  [0, 4, 4, 8],
  [2, 0, 4, 4],
  [0, 2, 2, 4],
  [1, 0, 2, 2],
  [0, 1, 1, 2],
];

/**
 * Decode a PNG with 8 bits a channel.
 * @param {Uint8Array} bytes
 * @returns {Promise<{rgba: Uint8Array, width: number, height: number, orientation: number}>} The pixels are as stored,
 *   not yet turned. Rejected with an Error that tells what is wrong if the file is damaged or the picture too large.
 */
export async function decodePng(bytes) {
  const chunks = chunksOf(bytes);
  const header = headerOf(chunks);
  checkSize(header.width, header.height);
  const pixels = emptyPixels(header);
  const put = pixelWriter(header, chunks);
  await eachLine(header, chunks.get("IDAT") ?? [], (line, place) => put(line, place, pixels));
  return {
    rgba: new Uint8Array(pixels.buffer),
    width: header.width,
    height: header.height,
    orientation: orientationOf(chunks),
  };
}

function emptyPixels({ width, height }) {
  try {
    return new Uint32Array(width * height);
  } catch {
    throw tooLarge(width, height);
  }
}

function damagedPng(what) {
  return new Error(`The PNG is damaged: ${what}.`);
}

/** Return the contents of the chunks by kind. */
function chunksOf(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const chunks = new Map();
  for (let start = PNG_SIGNATURE.length, kind = ""; kind !== "IEND"; ) {
    const end = start + 12 <= bytes.length ? start + 8 + view.getUint32(start) : Infinity;
    if (end + 4 > bytes.length) throw damagedPng("it ends early");
    kind = latin1(bytes.subarray(start + 4, start + 8));
    if (!/^[A-Za-z]{4}$/.test(kind)) throw damagedPng(`at byte ${start} there is no chunk`);
    if (chunks.size === 0 && kind !== "IHDR") throw damagedPng("it does not begin with its header");
    if (crc32(bytes.subarray(start + 4, end)) !== view.getUint32(end)) {
      throw damagedPng(`the checksum of its chunk ${kind} is wrong`);
    }
    if (!chunks.has(kind)) chunks.set(kind, []);
    chunks.get(kind).push(bytes.subarray(start + 8, end));
    start = end + 4;
  }
  return chunks;
}

const CRC_OF_BYTE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit += 1) crc = crc & 1 ? 0xedb88320 ^ (crc >>> 1) : crc >>> 1;
  return crc;
});

function crc32(bytes) {
  let crc = -1;
  for (let index = 0; index < bytes.length; index += 1) crc = CRC_OF_BYTE[(crc ^ bytes[index]) & 255] ^ (crc >>> 8);
  return ~crc >>> 0;
}

function headerOf(chunks) {
  const content = chunks.get("IHDR")[0];
  if (content.length !== 13) throw damagedPng("its header has a wrong length");
  const view = new DataView(content.buffer, content.byteOffset, content.length);
  const [width, height] = [view.getUint32(0), view.getUint32(4)];
  const [depth, color, compression, filter, interlace] = content.subarray(8);
  if (width === 0 || height === 0) throw damagedPng(`it has ${width} × ${height} pixels`);
  if (!DEPTHS[color]?.includes(depth)) throw damagedPng(`it has ${depth} bits a channel with color type ${color}`);
  if (compression || filter || interlace > 1) throw damagedPng("its header names methods that do not exist");
  return { width, height, depth, color, passes: interlace ? ADAM7 : ONE_PASS, bits: depth * CHANNELS[color] };
}

function orientationOf(chunks) {
  const exif = chunks.get("eXIf")?.at(-1);
  const xmp = chunks.get("iTXt")?.find((text) => latin1(text.subarray(0, 18)) === "XML:com.adobe.xmp\0");
  return (exif && exifOrientation(exif)) ?? (xmp && xmpOrientation(xmp)) ?? 1;
}

/** Call `use` with the bytes of each line, and the line's place among the pixels. */
async function eachLine(header, parts, use) {
  const reader = inflating(parts).getReader();
  const pixelBytes = Math.ceil(header.bits / 8);
  const longest = 1 + lineBytes(header.width, header);
  let [filtered, previous] = [new Uint8Array(longest), new Uint8Array(longest)];
  let [piece, used] = [new Uint8Array(0), 0];
  try {
    for (const place of scanlines(header)) {
      const size = 1 + lineBytes(place.count, header);
      for (let filled = 0; filled < size; ) {
        if (used === piece.length) [piece, used] = [await nextPiece(reader), 0];
        const taken = piece.subarray(used, used + size - filled);
        filtered.set(taken, filled);
        filled += taken.length;
        used += taken.length;
      }
      if (place.isFirst) previous.fill(0);
      unfilter(filtered, previous, size, pixelBytes);
      use(filtered.subarray(1, size), place);
      [filtered, previous] = [previous, filtered];
    }
  } finally {
    reader.cancel().catch(() => {}); // what follows the last line is of no use, and may be damaged
  }
}

function lineBytes(count, header) {
  return Math.ceil((count * header.bits) / 8);
}

/** Yield the places of the lines: how many pixels each has, the first one's index, and the step to the next. */
function* scanlines({ width, height, passes }) {
  for (const [left, top, across, down] of passes) {
    const count = Math.ceil((width - left) / across);
    for (let row = top; row < height && count > 0; row += down) {
      yield { count, start: row * width + left, step: across, isFirst: row === top };
    }
  }
}

async function nextPiece(reader) {
  let piece;
  try {
    piece = await reader.read();
  } catch {
    throw damagedPng("its pixels cannot be decompressed");
  }
  if (piece.done) throw damagedPng("it has too few pixels");
  return piece.value;
}

/** Undo a line's filter, which its first byte names, in place. */
function unfilter(line, previous, size, pixelBytes) {
  const [filter] = line;
  if (filter > 4) throw damagedPng(`it has a line with filter ${filter}`);
  if (filter === 1) {
    for (let index = 1 + pixelBytes; index < size; index += 1) line[index] += line[index - pixelBytes];
  } else if (filter === 2) {
    for (let index = 1; index < size; index += 1) line[index] += previous[index];
  } else if (filter === 3) {
    for (let index = 1; index < size; index += 1) {
      const left = index > pixelBytes ? line[index - pixelBytes] : 0;
      line[index] += (left + previous[index]) >> 1;
    }
  } else if (filter === 4) {
    for (let index = 1; index < size; index += 1) {
      const isInside = index > pixelBytes;
      const left = isInside ? line[index - pixelBytes] : 0;
      line[index] += paeth(left, previous[index], isInside ? previous[index - pixelBytes] : 0);
    }
  }
}

function paeth(left, above, corner) {
  const fromLeft = Math.abs(above - corner);
  const fromAbove = Math.abs(left - corner);
  const fromCorner = Math.abs(left + above - 2 * corner);
  if (fromLeft <= fromAbove && fromLeft <= fromCorner) return left;
  return fromAbove <= fromCorner ? above : corner;
}

/** Return what converts a line to RGBA. A whole pixel is written at once, which is faster than its four bytes. */
function pixelWriter(header, chunks) {
  const hidden = chunks.get("tRNS")?.at(-1);
  if (header.color === ColorType.PALETTE) return tableWriter(header.depth, paletteTable(chunks, hidden));
  if (header.color === ColorType.GRAY) return tableWriter(header.depth, grayTable(header.depth, hidden));
  return channelWriter(header, hidden);
}

/** Convert pixels of one number, which is an index into a table of colors. */
function tableWriter(depth, table) {
  const colors = new Uint32Array(table.buffer);
  return (line, { count, start, step }, pixels) => {
    for (let index = 0; index < count; index += 1) pixels[start + index * step] = colors[numberAt(line, index, depth)];
  };
}

function numberAt(line, index, depth) {
  if (depth === 8) return line[index];
  if (depth === 16) return (line[2 * index] << 8) | line[2 * index + 1];
  const bit = index * depth;
  return (line[bit >> 3] >> (8 - depth - (bit & 7))) & ((1 << depth) - 1);
}

/** Return the palette as RGBA; colors that the file does not name are black. */
function paletteTable(chunks, alphas = []) {
  const palette = chunks.get("PLTE")?.at(-1);
  if (!palette || palette.length > 768 || alphas.length > 256) throw damagedPng("it has no proper palette");
  const table = new Uint8Array(4 * 256);
  for (let index = 0; index < 256; index += 1) {
    table.set(palette.subarray(3 * index, 3 * index + 3), 4 * index);
    table[4 * index + 3] = alphas[index] ?? 255;
  }
  return table;
}

/** Return the RGBA of each gray value. */
function grayTable(depth, hidden) {
  const white = 2 ** depth - 1;
  const hiddenGray = hidden && hiddenNumber(hidden, 0);
  const table = new Uint8Array(4 * (white + 1));
  for (let value = 0; value <= white; value += 1) {
    const gray = Math.floor((value * 255 + (white >> 1)) / white);
    table.fill(gray, 4 * value, 4 * value + 3);
    table[4 * value + 3] = isHiddenGray(value, gray, hiddenGray, depth) ? 0 : 255;
  }
  return table;
}

function hiddenNumber(hidden, index) {
  if (hidden.length < 2 * index + 2) throw damagedPng("its transparent color is cut off");
  return (hidden[2 * index] << 8) | hidden[2 * index + 1];
}

/** Tell whether a gray value is the transparent one. Pillow compares values after their conversion to 8 bits. */
function isHiddenGray(value, gray, hidden, depth) {
  if (hidden === undefined) return false;
  if (depth === 16) return value === hidden; // as does pipeline.inference.pictures
  return depth === 1 ? value === Math.min(hidden, 1) : gray === (hidden & 255);
}

/** Convert pixels of two to four channels. Of 16 bits the first 8 count. */
function channelWriter({ color, depth }, hidden) {
  const size = depth / 8;
  const pixelBytes = CHANNELS[color] * size;
  const [green, blue] = color === ColorType.GRAY_ALPHA ? [0, 0] : [size, 2 * size];
  const alpha = color === ColorType.RGB ? undefined : pixelBytes - size;
  const hasHidden = color === ColorType.RGB && hidden;
  const hiddenRgb = hasHidden ? [0, 1, 2].map((index) => hiddenNumber(hidden, index) & 255) : null;
  const pixel = new Uint8Array(4);
  const whole = new Uint32Array(pixel.buffer);
  return (line, { count, start, step }, pixels) => {
    for (let index = 0; index < count; index += 1) {
      const at = index * pixelBytes;
      pixel[0] = line[at];
      pixel[1] = line[at + green];
      pixel[2] = line[at + blue];
      pixel[3] = alpha === undefined ? 255 : line[at + alpha];
      if (hiddenRgb?.every((value, channel) => value === pixel[channel])) pixel[3] = 0;
      pixels[start + index * step] = whole[0];
    }
  };
}
