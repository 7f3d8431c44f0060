import assert from "node:assert/strict";
import { test } from "node:test";
import { deflateSync } from "node:zlib";
import { mostConfused } from "../../pipeline/report/javascript/film/confusion.js";
import { roundValues } from "../../pipeline/report/javascript/film/curves.js";
import { addUp, frameOf, likeliestOther, unpackFilm } from "../../pipeline/report/javascript/film/frames.js";
import { base85 } from "./base85.js";

/** Pack numbers as `pipeline.report.script.packed` does. */
function packed(values) {
  const bytes = new Uint8Array(values.buffer);
  const width = values.BYTES_PER_ELEMENT;
  const byPlace = bytes.map((_, index) => bytes[(index % values.length) * width + Math.floor(index / values.length)]);
  return base85(deflateSync(byPlace));
}

const FILM = {
  epochs: [1, 3],
  images: [7, 9, 2],
  filters: { shown: 2, rows: 1, columns: 2, levels: 31, frames: packed(Int8Array.of(31, -31, 0, 5, -62, 0, 1, 1)) },
  confusion: packed(Uint32Array.of(1, 2, 3, 70000, 5, 6, 7, 8)),
  probabilities: packed(Uint16Array.of(9000, 1000, 1, 9999, 2, 9998, 3, 9997, 4, 9996, 5, 9995)),
};

test("a film has a picture of each unit after each epoch", async () => {
  const { shades } = await unpackFilm(FILM, 2);
  assert.deepEqual(shades(0, 0), Int8Array.of(31, -31));
  assert.deepEqual(shades(0, 1), Int8Array.of(0, 5));
  assert.deepEqual(shades(1, 0), Int8Array.of(-31, -31));
  assert.deepEqual(shades(1, 1), Int8Array.of(1, 6));
});

test("a film has a row for each true class and for each image", async () => {
  const film = await unpackFilm(FILM, 2);
  assert.deepEqual(film.counts(0, 1), Uint32Array.of(3, 70000));
  assert.deepEqual(film.counts(1, 0), Uint32Array.of(5, 6));
  assert.deepEqual(film.probabilities(0, 2), Uint16Array.of(2, 9998));
  assert.deepEqual(film.probabilities(1, 0), Uint16Array.of(3, 9997));
});

test("a film may have no filters", async () => {
  const film = await unpackFilm({ ...FILM, filters: null }, 2);
  assert.deepEqual(film.counts(0, 0), Uint32Array.of(1, 2));
});

test("differences of bytes add up modulo 256", () => {
  assert.deepEqual(addUp(Int8Array.of(100, -100, 100, -100), 2), Int8Array.of(100, -100, -56, 56));
});

test("the frame of an epoch is that of the last one shown so far", () => {
  const epochs = [1, 4, 7, 8];
  const found = [1, 3, 4, 6, 7, 8, 50].map((epoch) => frameOf(epochs, epoch));
  assert.deepEqual(found, [0, 0, 1, 1, 2, 3, 3]);
});

test("the most probable other class is not the image's own, and the first of equal ones", () => {
  assert.equal(likeliestOther([9, 1, 3], 0), 2);
  assert.equal(likeliestOther([1, 9, 3], 0), 1);
  assert.equal(likeliestOther([4, 9, 4], 1), 0);
});

test("the most frequent mistake is not on the diagonal", () => {
  const counts = [Uint32Array.of(9, 1), Uint32Array.of(2, 8)];
  assert.deepEqual(mostConfused(counts), { label: 1, predicted: 0, count: 2 });
  assert.equal(mostConfused([Uint32Array.of(9, 0), Uint32Array.of(0, 8)]), null);
});

test("ticks are at round values in the range", () => {
  for (const [low, high, most, text] of [
    [1, 50, 6, "10 20 30 40 50"],
    [0.98, 2.05, 5, "1.0 1.5 2.0"],
    [0.23, 0.65, 4, "0.3 0.4 0.5 0.6"],
    [0.331, 0.339, 4, "0.332 0.334 0.336 0.338"],
    [-0.5, 0.5, 4, "-0.5 0.0 0.5"],
  ]) {
    const { values, digits } = roundValues(low, high, most);
    assert.equal(values.map((value) => value.toFixed(digits)).join(" "), text);
  }
});
