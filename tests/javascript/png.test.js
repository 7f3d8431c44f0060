import assert from "node:assert";
import { describe, test } from "node:test";

import { decodePng } from "../../pipeline/report/javascript/pictures/png.js";
import { bigEndian, characters, data, END, file, header } from "./pngs.js";

async function pixels(...chunks) {
  return Array.from((await decodePng(file(...chunks, END))).rgba);
}

function gray(...values) {
  return values.flatMap((value) => [value, value, value, 255]);
}

describe("a PNG's pixels", () => {
  test("of 1, 2 and 4 bits reach from black to white", async () => {
    assert.deepStrictEqual(await pixels(header(3, 1, 1, 0), data([0, 0b10100000])), gray(255, 0, 255));
    assert.deepStrictEqual(await pixels(header(4, 1, 2, 0), data([0, 0b00011011])), gray(0, 85, 170, 255));
    assert.deepStrictEqual(await pixels(header(3, 1, 4, 0), data([0, 0x0f, 0x10])), gray(0, 255, 17));
  });

  test("of 16 bits: gray is rounded, of a color the high byte counts", async () => {
    assert.deepStrictEqual(await pixels(header(2, 1, 16, 0), data([0, 128, 128, 1, 127])), gray(128, 1));
    assert.deepStrictEqual(await pixels(header(1, 1, 16, 2), data([0, 1, 255, 2, 255, 3, 255])), [1, 2, 3, 255]);
    assert.deepStrictEqual(await pixels(header(1, 1, 16, 4), data([0, 7, 255, 9, 255])), [7, 7, 7, 9]);
    assert.deepStrictEqual(await pixels(header(1, 1, 16, 6), data([0, 1, 0, 2, 0, 3, 0, 4, 0])), [1, 2, 3, 4]);
  });

  test("of a palette; one that it does not name is black", async () => {
    const chunks = [header(2, 1, 8, 3), ["PLTE", [1, 2, 3]], ["tRNS", [77]], data([0, 0, 9])];
    assert.deepStrictEqual(await pixels(...chunks), [1, 2, 3, 77, 0, 0, 0, 255]);
  });

  test("of the transparent color are transparent", async () => {
    const gray = [header(2, 1, 8, 0), ["tRNS", [0, 5]], data([0, 5, 6])];
    assert.deepStrictEqual(await pixels(...gray), [5, 5, 5, 0, 6, 6, 6, 255]);
    const color = [header(1, 1, 8, 2), ["tRNS", [0, 1, 0, 2, 0, 3]], data([0, 1, 2, 3])];
    assert.deepStrictEqual(await pixels(...color), [1, 2, 3, 0]);
  });

  test("are told from their neighbours by each filter", async () => {
    const lines = [
      [1, 10, 20, 30, 1, 1, 1],
      [2, 1, 1, 1, 1, 1, 1],
      [3, 5, 5, 5, 5, 5, 5],
      [4, 0, 0, 0, 250, 250, 250],
    ];
    const expected = [
      [10, 20, 30, 255, 11, 21, 31, 255],
      [11, 21, 31, 255, 12, 22, 32, 255],
      [10, 15, 20, 255, 16, 23, 31, 255],
      [10, 15, 20, 255, 10, 17, 25, 255],
    ];
    assert.deepStrictEqual(await pixels(header(2, 4, 8, 2), data(...lines)), expected.flat());
  });

  test("of an interlaced picture come in passes; a tiny one has not all of them", async () => {
    const expected = gray(1, 2, 3, 4);
    assert.deepStrictEqual(await pixels(header(2, 2, 8, 0, 1), data([0, 1], [0, 2], [0, 3, 4])), expected);
  });

  test("may lie in several chunks, and more may follow", async () => {
    const [kind, bytes] = data([0, 8], [0, 9], [0, 10]);
    const parts = [3, 3, bytes.length].map((end, index) => [kind, bytes.subarray([0, 3, 3][index], end)]);
    assert.deepStrictEqual(await pixels(header(1, 2, 8, 0), ...parts), gray(8, 9));
  });
});

test("a PNG's orientation stands in its EXIF data, or in its XMP data", async () => {
  const orientation = async (...chunks) =>
    (await decodePng(file(header(1, 1, 8, 0), data([0, 0]), ...chunks, END))).orientation;
  const exif = [...characters("MM\0*"), ...bigEndian(8), 0, 1, 1, 18, 0, 3, 0, 0, 0, 1, 0, 6, 0, 0];
  const xmp = characters('XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation="3"/>');
  assert.strictEqual(await orientation(), 1);
  assert.strictEqual(await orientation(["eXIf", exif]), 6);
  assert.strictEqual(await orientation(["iTXt", xmp]), 3);
  assert.strictEqual(await orientation(["iTXt", xmp], ["eXIf", exif]), 6);
  assert.strictEqual(await orientation(["eXIf", exif.slice(0, 15)]), 1);
});

describe("a damaged PNG is refused", { timeout: 20_000 }, () => {
  const good = file(header(2, 2, 8, 3), ["PLTE", [1, 2, 3, 4, 5, 6]], data([0, 0, 1], [0, 1, 0]), END);

  test("wherever it is cut", async () => {
    for (let end = 8; end < good.length; end += 1) {
      await assert.rejects(decodePng(good.subarray(0, end)), { message: /^The PNG is damaged: it ends early\.$/ });
    }
  });

  test("whichever byte is wrong", async () => {
    for (let place = 8; place < good.length; place += 1) {
      const bad = good.slice();
      bad[place] ^= 0x10;
      await assert.rejects(decodePng(bad), { message: /^The PNG is damaged: .*\.$/ }, `byte ${place}`);
    }
  });

  const pixel = data([0, 0]);
  const gray = header(3, 1, 8, 0);
  const palette = header(1, 1, 8, 3);
  const [, bytes] = data([0, 1, 2, 3]);
  const cases = [
    ["with another chunk before its header", "does not begin with its header", ["gAMA", []], gray, pixel],
    ["with bytes that are no chunk", "there is no chunk", gray, ["a\0bc", []]],
    ["with a short header", "its header has a wrong length", ["IHDR", gray[1].slice(1)], pixel],
    ["without columns", "it has 0 × 1 pixels", header(0, 1, 8, 0), pixel],
    ["of 3 bits", "3 bits a channel with color type 0", header(1, 1, 3, 0), pixel],
    ["of an unknown color type", "8 bits a channel with color type 5", header(1, 1, 8, 5), pixel],
    ["of a palette with 16 bits", "16 bits a channel with color type 3", header(1, 1, 16, 3), pixel],
    ["interlaced in an unknown way", "methods that do not exist", header(1, 1, 8, 0, 2), pixel],
    ["without pixels", "cannot be decompressed", gray],
    ["with too few pixels", "it has too few pixels", gray, pixel],
    ["with data that end early", "cannot be decompressed", gray, ["IDAT", bytes.subarray(0, 5)]],
    ["with data that are none", "cannot be decompressed", gray, ["IDAT", bytes.map((byte) => byte ^ 255)]],
    ["with an unknown filter", "a line with filter 5", gray, data([5, 1, 2, 3])],
    ["without its palette", "no proper palette", palette, pixel],
    ["with a palette that is too long", "no proper palette", palette, ["PLTE", new Uint8Array(769)], pixel],
    ["with too many opacities", "no proper palette", palette, ["PLTE", []], ["tRNS", new Uint8Array(257)], pixel],
    ["with half a color", "its transparent color is cut off", header(1, 1, 8, 2), ["tRNS", [0, 1, 0, 2]], pixel],
  ];
  for (const [what, reason, ...chunks] of cases) {
    test(what, async () => {
      const message = new RegExp(`^The PNG is damaged: .*${reason}`);
      await assert.rejects(decodePng(file(...chunks, END)), { message });
    });
  }
});

test("a small file of a huge picture is refused", async () => {
  const message = "The picture has 60000 × 60000 pixels; expected at most 178956970. Make it smaller.";
  await assert.rejects(decodePng(file(header(60000, 60000, 8, 2), data([0]), END)), { message });
});
