// The ways by which a picture comes in: chosen, dropped, pasted, drawn, or one of the test images.
//
// A picture is {title, read}: `read(height, width)` returns a promise of {rgb}, its colors in that size.

import { create } from "../dom.js";
import { readPicture, readPixels } from "../pictures/pictures.js";
import { drawingBoard } from "./drawing-board.js";

/**
 * Create the buttons, and take what is dropped on the page, pasted, or clicked among its test images.
 * @param {HTMLElement} section The page scrolls to it when a picture comes from elsewhere.
 * @param {{classes: string[], images: Object<string, {picture: string, label: number}>}} data
 * @param {(picture: {title: string, read: Function}) => void} onPicture
 */
export function pictureSources(section, data, onPicture) {
  const onPictureElsewhere = (picture) => {
    section.scrollIntoView();
    onPicture(picture);
  };
  takeDropsAndPastes((file) => onPictureElsewhere(pictureIn(file, file.name)));
  makeButtons(document.querySelectorAll("figure[data-index] img"), onPictureElsewhere);
  return create("div", { class: "sources" }, fileButton(onPicture), ...drawing(onPicture), testImages(data, onPicture));
}

/** Call `onFile` with a file that is dropped anywhere, where a browser would leave the page for it, or pasted. */
function takeDropsAndPastes(onFile) {
  document.addEventListener("dragover", (event) => {
    if (event.dataTransfer.types.includes("Files")) {
      event.preventDefault();
    }
  });
  document.addEventListener("drop", (event) => {
    const [file] = event.dataTransfer.files;
    if (file) {
      event.preventDefault();
      onFile(file);
    }
  });
  document.addEventListener("paste", (event) => {
    const [file] = event.clipboardData.files;
    if (file) {
      onFile(file);
    }
  });
}

/** Put buttons around the page's images. */
function makeButtons(/** @type {NodeListOf<HTMLImageElement>} */ images, onPicture) {
  for (const image of images) {
    const button = asButton(image, () => onPicture(testImage(image.alt, image.src)));
    image.replaceWith(button);
    button.append(image);
  }
}

/** Return the first of the test images as a picture. */
export function firstTestImage({ classes, images }) {
  const [[index, { picture, label }]] = Object.entries(images);
  return testImage(testImageTitle(index, classes[label]), picture);
}

/** Return a test image as a picture; its URI holds a PNG. */
function testImage(title, uri) {
  const binary = atob(uri.slice(uri.indexOf(",") + 1));
  return pictureIn(new Blob([Uint8Array.from(binary, (character) => character.charCodeAt(0))]), title);
}

/** Return the picture in a file. Its content is read now: the file may be gone when another network takes the picture. */
function pictureIn(file, title) {
  const content = contentOf(file);
  return { title, read: async (height, width) => readPicture(await content, height, width) };
}

async function contentOf(file) {
  try {
    return new Blob([await file.arrayBuffer()]);
  } catch {
    throw new Error("It cannot be read. A folder is no picture; a file that has moved must be chosen again.");
  }
}

function testImageTitle(index, label) {
  return `Test image ${index} (${label})`;
}

function fileButton(onPicture) {
  const input = create("input", { type: "file", accept: "image/png,image/jpeg" });
  input.addEventListener("change", () => {
    const [file] = input.files;
    input.value = ""; // so that the same file, once changed, can be chosen again
    if (file) {
      onPicture(pictureIn(file, file.name));
    }
  });
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
  const button = create("button", { type: "button", class: "picture" });
  image.title = image.alt;
  button.addEventListener("click", onClick);
  return button;
}
