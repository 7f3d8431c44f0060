// The ways by which a picture comes in: chosen, dropped, pasted, drawn, or one of the test images.
//
// A picture is {title, read}: `read(height, width)` returns a promise of {rgb}, its colors in that size.

import { create } from "../dom.js";
import { readPicture, readPixels } from "../pictures/pictures.js";
import { drawingBoard } from "./drawing-board.js";

/**
 * Create the buttons, and take what is dropped on a section, pasted, or clicked among the page's test images.
 * @param {HTMLElement} section
 * @param {{classes: string[], images: Object<string, {picture: string, label: number}>}} data
 * @param {(picture: {title: string, read: Function}) => void} onPicture
 */
export function pictureSources(section, data, onPicture) {
  const onFiles = (/** @type {Iterable<File>} */ [file]) =>
    file && onPicture({ title: file.name, read: (height, width) => readPicture(file, height, width) });
  section.addEventListener("dragover", (event) => event.preventDefault());
  section.addEventListener("drop", (event) => {
    event.preventDefault();
    onFiles(event.dataTransfer.files);
  });
  document.addEventListener("paste", (event) => onFiles(event.clipboardData.files));
  /** @type {NodeListOf<HTMLImageElement>} */
  const images = document.querySelectorAll("figure[data-index] img");
  for (const image of images) {
    const picture = testImage(image.alt, image.src);
    const button = asButton(image, () => {
      section.scrollIntoView();
      onPicture(picture);
    });
    image.replaceWith(button);
    button.append(image);
  }
  return create("div", { class: "sources" }, fileButton(onFiles), ...drawing(onPicture), testImages(data, onPicture));
}

/** Return the first of the test images as a picture. */
export function firstTestImage({ classes, images }) {
  const [[index, { picture, label }]] = Object.entries(images);
  return testImage(testImageTitle(index, classes[label]), picture);
}

/** Return a test image as a picture; its URI holds a PNG. */
function testImage(title, uri) {
  const binary = atob(uri.slice(uri.indexOf(",") + 1));
  const png = new Blob([Uint8Array.from(binary, (character) => character.charCodeAt(0))]);
  return { title, read: (height, width) => readPicture(png, height, width) };
}

function testImageTitle(index, label) {
  return `Test image ${index} (${label})`;
}

function fileButton(onFiles) {
  const input = create("input", { type: "file", accept: "image/png,image/jpeg" });
  input.addEventListener("change", () => onFiles(input.files));
  return create("label", { class: "button" }, "Choose a picture", input);
}

function drawing(onPicture) {
  const board = drawingBoard((drawn) => {
    const read = async (height, width) => readPixels(drawn.data, drawn.width, drawn.height, height, width);
    onPicture({ title: "Your drawing", read });
  });
  board.element.hidden = true;
  const button = create("button", { type: "button", "aria-expanded": "false" }, "Draw");
  button.addEventListener("click", () => {
    board.element.hidden = !board.element.hidden;
    button.setAttribute("aria-expanded", String(!board.element.hidden));
    if (!board.element.hidden) {
      board.clear();
    }
  });
  return [button, board.element];
}

function testImages({ classes, images }, onPicture) {
  const buttons = Object.entries(images).map(([index, { picture, label }]) => {
    const title = testImageTitle(index, classes[label]);
    const image = create("img", { src: picture, alt: title });
    const button = asButton(image, () => onPicture(testImage(title, picture)));
    button.append(image);
    return button;
  });
  return create("div", { class: "examples", role: "group", "aria-label": "Test images" }, ...buttons);
}

function asButton(image, onClick) {
  const button = create("button", { type: "button", class: "picture", title: image.alt });
  button.addEventListener("click", onClick);
  return button;
}
