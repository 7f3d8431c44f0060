// The section "Try it": a picture passes through a trained network, layer by layer.

import { announcer, create, percent, radioButtons } from "../dom.js";
import { readNetwork } from "./network.js";
import { NetworkView } from "./network-view.js";
import { firstTestImage, pictureSources } from "./picture-sources.js";

/**
 * Bring the section to life, with a test image in the last network.
 * @param {{classes: string[], images: Object<string, {picture: string, label: number}>, networks: any[]}} data
 * @param {HTMLElement} root An empty element of the section.
 */
export async function startTryIt(data, root) {
  const networks = await Promise.all(data.networks.filter((network) => network.weights).map(readNetwork));
  const { element: spoken, speak } = announcer();
  const views = networks.map((network) => new NetworkView(network, data.classes, speak));
  const last = views.length - 1;
  const trial = new Trial(data.classes, firstTestImage(data), speak);
  const titles = networks.map((network) => network.title);
  const choice = radioButtons("try-it-network", "Network", titles, last, (number) => trial.showIn(views[number]));
  const sources = pictureSources(root.closest("section"), data, (picture) => trial.show(picture));
  root.replaceChildren(...(views.length > 1 ? [choice] : []), sources, trial.answer, trial.place, spoken);
  await trial.showIn(views[last]);
}

/** Shows the picture in the network, of those that the reader asked for last. */
class Trial {
  constructor(classes, picture, speak) {
    this.classes = classes;
    this.picture = picture;
    this.readable = picture;
    this.speak = speak;
    this.answer = create("p", { class: "answer" });
    this.place = create("div", { class: "network" });
  }

  showIn(view) {
    this.view = view;
    this.place.replaceChildren(...view.elements);
    return this.show(this.picture);
  }

  async show(picture) {
    this.picture = picture;
    const { view } = this;
    this.place.setAttribute("aria-busy", "true");
    const { rgb, error } = await picture.read(...view.size).catch((reason) => ({ error: reason }));
    if (picture !== this.picture || view !== this.view) {
      return; // the reader has asked for something else meanwhile
    }
    this.place.setAttribute("aria-busy", "false");
    if (error) {
      await this.refuse(picture, error);
      return;
    }
    this.readable = picture;
    const probabilities = view.show(rgb);
    const largest = Math.max(...probabilities);
    this.say(picture, `${this.classes[probabilities.indexOf(largest)]}, ${percent(largest)}`);
  }

  /** Say why a picture cannot be read, and go back to the one before, which this network may not have shown yet. */
  async refuse(picture, error) {
    if (picture !== this.readable) {
      await this.show(this.readable);
    }
    this.say(picture, error.message);
  }

  say(picture, text) {
    this.answer.textContent = `${picture.title}: ${text}`;
    this.speak(this.answer.textContent);
  }
}
