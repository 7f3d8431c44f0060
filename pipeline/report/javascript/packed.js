// Unpack what Python packed for the script, and inflate zlib's and PNG's data.

/** The digits of Base85, as RFC 1924 lists them, with a period in place of `<`. */
const DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;.=>?@^_`{|}~";

/**
 * Return the bytes of Base85 text: four for five digits, and for a shorter group at the end one less than its digits.
 * @param {string} text
 */
export function bytesOf(text) {
  const values = new Uint8Array(128);
  for (const [value, digit] of Array.from(DIGITS).entries()) values[digit.charCodeAt(0)] = value;
  const missing = (5 - (text.length % 5)) % 5;
  const digits = text + DIGITS[84].repeat(missing);
  const bytes = new DataView(new ArrayBuffer((4 * digits.length) / 5));
  for (let group = 0; 5 * group < digits.length; group += 1) {
    let number = 0;
    for (let place = 5 * group; place < 5 * group + 5; place += 1) {
      number = 85 * number + values[digits.charCodeAt(place)];
    }
    bytes.setUint32(4 * group, number);
  }
  return new Uint8Array(bytes.buffer, 0, bytes.byteLength - missing);
}

/**
 * Decompress data in zlib's format, as they are read.
 * @param {BlobPart[]} parts
 * @returns {ReadableStream} Its reader gets an error if the data are damaged.
 */
export function inflating(parts) {
  return new Blob(parts).stream().pipeThrough(new DecompressionStream("deflate"));
}

/**
 * Decompress data in zlib's format.
 * @param {BlobPart} bytes
 * @returns {Promise<Uint8Array>} Rejected with a TypeError if the data are damaged.
 */
export async function inflate(bytes) {
  return new Uint8Array(await new Response(inflating([bytes])).arrayBuffer());
}

/**
 * Unpack an array of numbers that `pipeline.report.script.packed` packed.
 * @template T
 * @param {string} text
 * @param {{new (buffer: ArrayBufferLike): T, BYTES_PER_ELEMENT: number}} ArrayType Such as Float32Array.
 * @returns {Promise<T>} Rejected with an error if the data are damaged.
 */
export async function unpack(text, ArrayType) {
  const byPlace = await inflate(bytesOf(text));
  const width = ArrayType.BYTES_PER_ELEMENT;
  const count = byPlace.length / width;
  const bytes = new Uint8Array(byPlace.length);
  for (let place = 0; place < width; place += 1) {
    for (let index = 0; index < count; index += 1) {
      bytes[index * width + place] = byPlace[place * count + index];
    }
  }
  return new ArrayType(bytes.buffer);
}
