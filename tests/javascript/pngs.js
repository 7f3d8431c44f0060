// Make PNGs for tests.

import { deflateSync } from "node:zlib";

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];

export function bigEndian(number) {
  return [number >>> 24, (number >>> 16) & 255, (number >>> 8) & 255, number & 255];
}

export function characters(text) {
  return Array.from(text, (character) => character.charCodeAt(0));
}

function crc32(bytes) {
  let crc = -1;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit += 1) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  }
  return ~crc >>> 0;
}

/** Return a file of chunks, each of which is a kind and bytes. */
export function file(...chunks) {
  const parts = chunks.map(([kind, content]) => {
    const named = [...characters(kind), ...content];
    return [...bigEndian(content.length), ...named, ...bigEndian(crc32(named))];
  });
  return Uint8Array.from([...SIGNATURE, ...parts.flat()]);
}

export function header(width, height, depth, color, interlace = 0) {
  return ["IHDR", [...bigEndian(width), ...bigEndian(height), depth, color, 0, 0, interlace]];
}

export function data(...lines) {
  return ["IDAT", deflateSync(Uint8Array.from(lines.flat()))];
}

export const END = ["IEND", []];
