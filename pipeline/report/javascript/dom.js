// Create elements, and write numbers as the page writes them.

/**
 * Create an element. Attributes that are true have no value; those that are false are left out.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Object<string, string | number | boolean>} attributes
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function create(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false) {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
  element.append(...children);
  return element;
}

/** Create radio buttons, one for each of `titles`; `onChoice` is called with the index of a button that is chosen. */
export function radioButtons(name, legend, titles, chosen, onChoice) {
  const choices = titles.map((title, index) => {
    const radio = create("input", { type: "radio", name, value: index, checked: index === chosen });
    radio.addEventListener("change", () => onChoice(index));
    return create("label", {}, radio, title);
  });
  return create("fieldset", { class: "choices" }, create("legend", {}, legend), ...choices);
}

/** Milliseconds after which a text is spoken, unless another one takes its place. */
const SPEECH_DELAY = 300;

/**
 * Create an element that nobody sees and that screen readers speak, and the function that gives it a text. While texts
 * follow each other quickly, as when the pointer moves, none is spoken but the last.
 * @returns {{element: HTMLElement, speak: (text: string) => void}}
 */
export function announcer() {
  const element = create("p", { role: "status", class: "spoken" });
  let timer;
  const speak = (text) => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      element.textContent = text;
    }, SPEECH_DELAY);
  };
  return { element, speak };
}

/** Write a number with a minus sign as wide as a digit, such as −0.250. */
export function decimal(value, digits = 3) {
  const text = value.toFixed(digits);
  return Number(text) === 0 ? text.replace("-", "") : text.replace("-", "−");
}

/** Write a share of 1 as a percentage; rounded down, so that only 1 is 100%. */
export function percent(share) {
  return `${(Math.floor(1000 * share) / 10).toFixed(1)}%`;
}

/** Write a count with its noun: 1 unit, 200 units. */
export function counted(count, noun) {
  return count === 1 ? `1 ${noun}` : `${count.toLocaleString("en")} ${noun}s`;
}

/** Return a colour of the page's style, such as that of `--blue`, for a canvas. */
export function colorOf(element, name) {
  return getComputedStyle(element).getPropertyValue(name).trim();
}
