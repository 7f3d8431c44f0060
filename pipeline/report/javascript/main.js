// Start the parts of the page that the script brings to life.

import { startFilms } from "./film/film.js";
import { startTryIt } from "./try-it/try-it.js";

const data = JSON.parse(document.getElementById("page-data").textContent);
const tryIt = document.getElementById("try-it-here");
if (tryIt) {
  startTryIt(data, tryIt);
}
const film = document.getElementById("film");
if (film) {
  startFilms(data, film);
}
