// Unpack what Python packed for the script, and inflate zlib's and PNG's data.

/**
 * Return the bytes of Base64 text.
 * @param {string} text
 */
export function bytesOf(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
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
