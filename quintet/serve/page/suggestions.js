/** What to try: requests as the model learned them, about things that it knows. */

import { sample } from "./pictures.js";

/** Things of the model's world, a background for their pictures and the article. */
const THINGS = [
  ["🍎", "an apple", "#dfe9d8"], ["🐱", "a cat", "#d5e3ee"], ["🚗", "a car", "#efe3cc"],
  ["🌻", "a flower", "#d9e2f1"], ["🎸", "a guitar", "#e9dcec"], ["🐧", "a penguin", "#e4ecec"],
  ["🚀", "a rocket", "#f0dfdc"], ["🍌", "a banana", "#dde7ee"], ["🐘", "an elephant", "#eee9d5"],
  ["🏠", "a house", "#dcead9"], ["🔑", "a key", "#e6e0f0"], ["🍕", "a pizza", "#d8e8ea"],
];
const SHOWN = 6; // pictures at a time
const NUMBERS = ["three", "four", "five", "six", "seven"];
const COLOURS = ["red", "blue", "green", "yellow", "black", "white"];
const GREETINGS = ["hello.", "good morning.", "thank you.", "good night."];
const name = (thing) => thing[1].replace(/^an? /, "");

/** Each makes one phrase of its kind. */
const PHRASES = [
  () => pick(GREETINGS),
  () => `draw ${pick(THINGS)[1]}.`,
  () => `say ${name(pick(THINGS))}.`,
  () => `count to ${pick(NUMBERS)}.`,
  () => `repeat after me: the ${pick(COLOURS)} ${name(pick(THINGS))}.`,
];

export class Suggestions {
  /**
   * @param {HTMLElement} pictures group of buttons
   * @param {HTMLElement} phrases group of buttons
   * @param {HTMLElement} more the button that asks for other phrases
   * @param {(text: string) => void} onSay
   * @param {(url: string, name: string) => void} onShow
   */
  constructor(pictures, phrases, more, onSay, onShow) {
    this.onSay = onSay;
    this.buttons = PHRASES.map((make, i) => {
      const button = add(phrases, () => this.say(button, make));
      button.textContent = i ? make() : GREETINGS[0];
      return button;
    });
    more.addEventListener("click", () => this.renew());
    this.offerPictures(pictures, onShow);
  }

  /** A phrase that was said makes room for another of its kind. */
  say(button, make) {
    this.onSay(button.textContent);
    other(button, make);
  }

  renew() {
    this.buttons.forEach((button, i) => other(button, PHRASES[i]));
  }

  offerPictures(group, onShow) {
    for (const [emoji, thing, background] of shuffled(THINGS).slice(0, SHOWN)) {
      const url = sample(emoji, background);
      if (!url) return; // without emoji there is nothing to show
      const button = add(group, () => onShow(url, thing));
      button.title = `Show ${thing} and ask what it is`;
      const image = new Image(36, 36);
      image.src = url;
      image.alt = button.title;
      button.append(image);
      group.hidden = false;
    }
  }
}

function other(button, make) {
  const before = button.textContent;
  for (let i = 0; i < 9 && button.textContent === before; i++) button.textContent = make();
}

function add(group, action) {
  const button = document.createElement("button");
  button.type = "button";
  button.disabled = true;
  button.addEventListener("click", action);
  group.append(button);
  return button;
}

function pick(choices) {
  return choices[Math.floor(Math.random() * choices.length)];
}

function shuffled(choices) {
  return choices.map((it) => [Math.random(), it]).sort(([a], [b]) => a - b).map(([, it]) => it);
}
