// The section that plays trainings as films.

import { radioButtons } from "../dom.js";
import { FILM_PARTS, figuresText } from "./film-parts.js";
import { frameOf, together, unpackFilm } from "./frames.js";

const FRAMES_PER_SECOND = 8;

/**
 * Bring the section to life, at the last epoch of the last network.
 * @param {object} data
 * @param {string[]} data.classes
 * @param {Object<string, {picture: string, label: number}>} data.images Test images by their indices.
 * @param {{title: string, film: import("./frames.js").PackedFilm}[]} data.networks
 * @param {HTMLElement} root The section.
 */
export async function startFilms({ classes, images, networks }, root) {
  const films = await Promise.all(
    networks.map(async ({ title, film }) => {
      return { title, classes, pictures: images, ...(await unpackFilm(film, classes.length)) };
    }),
  );
  /** @type {(name: string) => any} */
  const place = (name) => root.querySelector(`.film-${name}`);
  const slider = place("slider");
  let film = films.at(-1);
  let showParts;
  const show = () => {
    const frame = slider.valueAsNumber;
    const epoch = `epoch ${film.epochs[frame]} of ${film.epochs.at(-1)}`;
    place("title").textContent = `${film.title}, ${epoch}`;
    slider.setAttribute("aria-valuetext", `${epoch}: ${figuresText(film.rows[frame])}`);
    showParts(frame);
  };
  const choose = (chosen, epoch) => {
    film = chosen;
    showParts = together(Object.entries(FILM_PARTS).map(([name, fill]) => fill(place(name), film)));
    slider.max = film.epochs.length - 1;
    slider.value = frameOf(film.epochs, epoch);
    show();
  };
  const pause = playWith(place("play"), slider, show);
  slider.addEventListener("input", () => {
    pause();
    show();
  });
  if (films.length > 1) {
    const titles = films.map(({ title }) => title);
    const chooseAt = (number) => choose(films[number], film.epochs[slider.valueAsNumber]);
    place("choice").replaceChildren(radioButtons("film-network", "Network", titles, films.length - 1, chooseAt));
  }
  // A canvas keeps the colours that it was drawn in.
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
  choose(film, film.epochs.at(-1));
  place("screen").hidden = false;
}

/** Let a button move a slider to its end, or from there to its start and on; return the function that pauses it. */
function playWith(button, slider, show) {
  let timer = null;
  const pause = () => {
    clearInterval(timer);
    timer = null;
    button.textContent = "Play";
  };
  const move = (frame) => {
    slider.value = frame;
    show();
    if (frame >= Number(slider.max)) {
      pause();
    }
  };
  const play = () => {
    timer = setInterval(() => move(slider.valueAsNumber + 1), 1000 / FRAMES_PER_SECOND);
    button.textContent = "Pause";
    if (slider.value === slider.max) {
      move(0);
    }
  };
  button.addEventListener("click", () => (timer === null ? play() : pause()));
  return pause;
}
