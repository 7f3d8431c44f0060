// Start the parts of the page that the script brings to life.

import { create } from "./dom.js";
import { startFilms } from "./film/film.js";
import { startTryIt } from "./try-it/try-it.js";

const data = JSON.parse(document.getElementById("page-data").textContent);

/** Start a part in its place, if the page has it, and say there if the browser lacks what it needs. */
async function start(part, place) {
  try {
    await (place && part(data, place));
  } catch (error) {
    console.error(error);
    const reason = `This browser cannot show this section (${error.message}).`;
    place.append(create("p", {}, `${reason} Chrome, Edge, Firefox and Safari can since May 2023.`));
  }
}

start(startTryIt, document.getElementById("try-it-here"));
start(startFilms, document.getElementById("film"));
