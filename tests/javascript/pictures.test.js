import assert from "node:assert";
import { describe, test } from "node:test";

import { withoutMetadata } from "../../pipeline/report/javascript/pictures/jpeg.js";
import { grayscale, readPicture, readPixels } from "../../pipeline/report/javascript/pictures/pictures.js";
import { bigEndian, characters, data, END, file, header } from "./pngs.js";

function plain(width, height, rgba) {
  return Uint8Array.from({ length: 4 * width * height }, (_, index) => rgba[index % 4]);
}

describe("pixels", () => {
  test("of the wanted size keep every value", () => {
    const rgba = Uint8Array.from({ length: 4 * 6 }, (_, index) => (index % 4 === 3 ? 255 : index));
    const { rgb } = readPixels(rgba, 3, 2, 2, 3);
    assert.deepStrictEqual(
      Array.from(rgb),
      Array.from(rgba).filter((_, index) => index % 4 !== 3),
    );
  });

  test("of one color keep it at any size", () => {
    for (const [width, height] of [
      [1, 1],
      [5, 90],
      [90, 5],
      [64, 33],
      [3, 2],
    ]) {
      const { rgb } = readPixels(plain(width, height, [9, 99, 199, 255]), width, height, 7, 4);
      assert.deepStrictEqual(Array.from(rgb), Array.from({ length: 28 }, () => [9, 99, 199]).flat());
    }
  });

  test("that are transparent show white, and their color counts nothing", () => {
    const half = Uint8Array.from({ length: 4 * 64 * 64 }, (_, index) => [255, 0, 0, 0, 0, 0, 255, 255][index % 8]);
    const [red, green, blue] = readPixels(half, 64, 64, 1, 1).rgb;
    assert.ok(red === green && blue === 255 && Math.abs(red - 127) < 2);
    assert.deepStrictEqual(Array.from(readPixels(plain(2, 2, [1, 2, 3, 0]), 2, 2, 1, 1).rgb), [255, 255, 255]);
  });

  test("in the middle are kept", () => {
    const rgba = plain(100, 20, [0, 0, 0, 255]);
    for (let y = 0; y < 20; y += 1) rgba.fill(255, 4 * (100 * y + 40), 4 * (100 * y + 60));
    const { rgb } = readPixels(rgba, 100, 20, 10, 10);
    const inner = rgb.filter((_, index) => index % 30 >= 6 && index % 30 < 24); // beside it, the black ground shines in
    assert.ok(inner.every((value) => value === 255));
  });
});

test("gray values reach from -0.5 to 0.5, rounded once", () => {
  const gray = grayscale(Uint8Array.from([0, 0, 0, 255, 255, 255, 1, 2, 3, 200, 100, 50]), 2, 2);
  assert.deepStrictEqual(Array.from(gray), [-0.5, 0.5, Math.fround(-125685 / 255000), Math.fround(-3300 / 255000)]);
});

describe("a file", () => {
  const pixel = file(header(1, 1, 8, 2), data([0, 1, 2, 3]), END);

  test("that is a PNG is read", async () => {
    assert.deepStrictEqual(Array.from((await readPicture(new Blob([pixel]), 1, 1)).rgb), [1, 2, 3]);
  });

  test("is turned as its EXIF data say", async () => {
    const colors = data([0, 10, 20], [0, 30, 40], [0, 50, 60]);
    const upright = [
      [1, 2, 3, 4, 5, 6],
      [2, 1, 4, 3, 6, 5],
      [6, 5, 4, 3, 2, 1],
      [5, 6, 3, 4, 1, 2],
    ];
    const turned = [
      [1, 3, 5, 2, 4, 6],
      [5, 3, 1, 6, 4, 2],
      [6, 4, 2, 5, 3, 1],
      [2, 4, 6, 1, 3, 5],
    ];
    for (const [index, expected] of [...upright, ...turned].entries()) {
      const entry = [1, 18, 0, 3, 0, 0, 0, 1, 0, index + 1, 0, 0];
      const exif = ["eXIf", [...characters("MM\0*"), ...bigEndian(8), 0, 1, ...entry]];
      const blob = new Blob([file(header(2, 3, 8, 0), exif, colors, END)]);
      const { rgb } = await readPicture(blob, ...(index < 4 ? [3, 2] : [2, 3]));
      const values = Array.from(rgb).filter((_, place) => place % 3 === 0);
      assert.deepStrictEqual(
        values,
        expected.map((value) => 10 * value),
        `orientation ${index + 1}`,
      );
    }
  });

  const others = {
    "a GIF": "GIF89a",
    "a WebP": "RIFF\x10\0\0\0WEBPVP8 ",
    "a HEIC": "\0\0\0\x18ftypheic",
    "an AVIF": "\0\0\0\x18ftypavif",
    "an SVG": "<svg xmlns=",
    empty: "",
    "of an unknown kind": "hello",
  };
  for (const [kind, content] of Object.entries(others)) {
    test(`that is ${kind} is refused`, async () => {
      const message = `The file is ${kind}; expected a PNG or a JPEG.`;
      await assert.rejects(readPicture(new Blob([Uint8Array.from(characters(content))]), 1, 1), { message });
    });
  }
});

describe("a JPEG", () => {
  const segment = (marker, content) => [255, marker, ...bigEndian(content.length + 2).slice(2), ...content];
  const orientation = [...characters("Exif\0\0II*\0"), 8, 0, 0, 0, 1, 0, 18, 1, 3, 0, 1, 0, 0, 0, 8, 0, 0, 0];
  const xmp = characters('http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation="5"/>');
  const start = [255, 216];
  const application = segment(0xe0, characters("JFIF\0"));
  const frame = segment(0xc0, [8, 0, 9, 0, 7, 1]);
  const scan = [...segment(0xda, [1, 2, 3]), 7, 7, 255, 0, 7, 255, 217];

  test("is stripped of its metadata, which tell how it is turned", () => {
    const metadata = [...segment(0xe1, orientation), ...segment(0xe1, xmp), ...segment(0xe2, [1, 2, 3])];
    const parts = (...bytes) => withoutMetadata(Uint8Array.from(bytes.flat()));
    const stripped = parts(start, application, metadata, [255, 255], frame, scan);
    assert.strictEqual(stripped.orientation, 8);
    const left = stripped.parts.flatMap((part) => Array.from(part));
    assert.deepStrictEqual(left, [...start, ...application, ...frame, ...scan]);
    assert.strictEqual(parts(start, segment(0xe1, xmp), frame, scan).orientation, 5);
    assert.strictEqual(parts(start, frame, scan).orientation, 1);
  });

  test("that is cut is refused", () => {
    const whole = Uint8Array.from([...start, ...application, ...frame, ...scan]);
    for (let end = 2; end < whole.length; end += 1) {
      assert.throws(() => withoutMetadata(whole.subarray(0, end)), { message: /^The JPEG is damaged/ });
    }
  });

  test("that is too large is refused", () => {
    const huge = segment(0xc2, [8, 255, 255, 255, 255, 3]);
    const bytes = Uint8Array.from([...start, ...huge, ...scan]);
    assert.throws(() => withoutMetadata(bytes), { message: /65535 × 65535 pixels/ });
  });
});
