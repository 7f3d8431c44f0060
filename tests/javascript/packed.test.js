import assert from "node:assert/strict";
import { test } from "node:test";
import { deflateSync } from "node:zlib";
import { bytesOf, inflate, unpack } from "../../pipeline/report/javascript/packed.js";
import { base85 } from "./base85.js";

const zlib = (...bytes) => deflateSync(Uint8Array.from(bytes));

test("reads the bytes of Base85", () => {
  assert.deepEqual(bytesOf("0RI6"), Uint8Array.of(0, 255, 1));
  assert.deepEqual(bytesOf("|Ns9"), Uint8Array.of(255, 255, 255));
  for (let size = 0; size < 12; size += 1) {
    const bytes = Uint8Array.from({ length: size }, (_, index) => 255 - 23 * index);
    assert.deepEqual(bytesOf(base85(bytes)), bytes);
  }
});

test("inflates zlib's data", async () => {
  assert.deepEqual(await inflate(zlib(1, 2, 3)), Uint8Array.of(1, 2, 3));
});

test("puts the bytes of each number together, the least significant first", async () => {
  assert.deepEqual(await unpack(base85(zlib(1, 2, 0, 128)), Uint16Array), Uint16Array.of(1, 0x8002));
  assert.deepEqual(await unpack(base85(zlib(0, 0, 0, 0, 128, 192, 63, 191)), Float32Array), Float32Array.of(1, -1.5));
  assert.deepEqual(await unpack(base85(zlib()), Float32Array), new Float32Array());
});

const whole = zlib(1, 2, 3, 4, 5, 6, 7, 8);
const damaged = {
  "that are empty": [],
  "that are no zlib": [1, 2, 3],
  "that are cut short": whole.subarray(0, 10),
  "with a wrong checksum": [...whole.subarray(0, -1), whole.at(-1) ^ 1],
  "that are a part of a number": zlib(1, 2, 3, 4, 5),
};

for (const [what, bytes] of Object.entries(damaged)) {
  test(`rejects data ${what}`, () => assert.rejects(unpack(base85(bytes), Float32Array)));
}
