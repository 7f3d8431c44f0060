// The section "Try it": a picture passes through a trained network, layer by layer.

import { create, percent, radioButtons } from "../dom.js";
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
  const views = networks.map((network) => new NetworkView(network, data.classes));
  const status = create("p", { role: "status" });
  const shown = create("div", { class: "network" });
  let view = views[views.length - 1];
  let picture = null;

  const show = async () => {
    const { title, read } = picture;
    const asked = [picture, view];
    try {
      const { rgb } = await read(...view.size);
      if (picture !== asked[0] || view !== asked[1]) {
        return; // the reader has chosen another one meanwhile
      }
      const probabilities = view.show(rgb);
      const largest = Math.max(...probabilities);
      status.textContent = `${title}: ${data.classes[probabilities.indexOf(largest)]}, ${percent(largest)}`;
    } catch (error) {
      status.textContent = `${title}: ${error.message}`;
    }
  };
  const showPicture = (given) => {
    picture = given;
    return show();
  };
  const showNetwork = (number) => {
    view = views[number];
    shown.replaceChildren(...view.elements);
    return show();
  };

  const titles = networks.map((network) => network.title);
  const choice = radioButtons("try-it-network", "Network", titles, views.length - 1, showNetwork);
  root.replaceChildren(choice, pictureSources(root.closest("section"), data, showPicture), status, shown);
  picture = firstTestImage(data);
  await showNetwork(views.length - 1);
}
