// The frames of a film: what a training kept of its epochs.

import { unpack } from "../packed.js";

/** A probability of 1 in a film. */
export const WHOLE = 10000;

/**
 * A film as `pipeline.report.film.film_data` packs it.
 * @typedef {object} PackedFilm
 * @property {number[]} epochs Those that it shows.
 * @property {number[][]} rows Training loss, validation loss and validation accuracy after each of them.
 * @property {{label: string, rows: number[][]}[]} article The same of the article's runs, after each of their epochs.
 * @property {Filters | null} filters The pictures of `shown` of the `units` of a layer.
 * @property {string} confusion
 * @property {number[]} images Indices of test images.
 * @property {string} probabilities
 *
 * @typedef {{layer: string, units: number, shown: number, rows: number, columns: number, levels: number,
 *   frames: string}} Filters
 */

/** @typedef {Awaited<ReturnType<typeof unpackFilm>>} Film */

/**
 * Unpack a film.
 *
 * Of a frame, an index into `epochs`, `shades(frame, unit)` returns a unit's picture, from `-filters.levels` to
 * `filters.levels`; `counts(frame, label)` a row of the confusion matrix; `probabilities(frame, place)` those of the
 * image `images[place]`, from 0 to `WHOLE`.
 * @param {PackedFilm} film
 * @param {number} classes
 */
export async function unpackFilm(film, classes) {
  const { filters, images } = film;
  const area = filters ? filters.rows * filters.columns : 0;
  const shades = filters ? addUp(await unpack(filters.frames, Int8Array), filters.shown * area) : null;
  const counts = await unpack(film.confusion, Uint32Array);
  const probabilities = await unpack(film.probabilities, Uint16Array);
  return {
    ...film,
    shades: (frame, unit) => partOf(shades, frame * filters.shown + unit, area),
    counts: (frame, label) => partOf(counts, frame * classes + label, classes),
    probabilities: (frame, place) => partOf(probabilities, frame * images.length + place, classes),
  };
}

function partOf(values, number, size) {
  return values.subarray(number * size, (number + 1) * size);
}

/**
 * Add to each frame the frames before it, modulo 256, in place.
 * @param {Int8Array} values All frames, each of `size` values.
 * @param {number} size
 */
export function addUp(values, size) {
  for (let index = size; index < values.length; index += 1) {
    values[index] += values[index - size];
  }
  return values;
}

/**
 * Return the frame of the last shown epoch that is not after an epoch; the first shown one is 1.
 * @param {number[]} epochs
 * @param {number} epoch
 */
export function frameOf(epochs, epoch) {
  return epochs.filter((shown) => shown <= epoch).length - 1;
}

/**
 * Return the class with the highest probability among all others.
 * @param {ArrayLike<number>} probabilities
 * @param {number} label
 */
export function likeliestOther(probabilities, label) {
  let best = label === 0 ? 1 : 0;
  for (let other = best; other < probabilities.length; other += 1) {
    if (other !== label && probabilities[other] > probabilities[best]) {
      best = other;
    }
  }
  return best;
}

/**
 * Return a function that shows a frame in every part.
 * @param {((frame: number) => void)[]} shows
 */
export function together(shows) {
  return (frame) => {
    for (const show of shows) {
      show(frame);
    }
  };
}
