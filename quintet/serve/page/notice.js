/** One sentence for the person; it goes by itself, but screen readers can still find it. */

const SHOWN_MILLISECONDS = 5000;
const READING_MILLISECONDS = 60; // more for each character
const AGAIN_MILLISECONDS = 2000;

export class Notice {
  /**
   * @param {HTMLElement} box
   * @param {HTMLElement} text in the box
   * @param {HTMLElement} past where the sentence stays, unseen
   */
  constructor(box, text, past) {
    this.box = box;
    this.text = text;
    this.past = past;
    this.timer = 0;
  }

  /** @param {boolean} stays until it is closed */
  show(sentence, stays) {
    clearTimeout(this.timer);
    this.text.textContent = sentence;
    this.past.textContent = "";
    this.box.hidden = false;
    if (!stays) this.later(SHOWN_MILLISECONDS + READING_MILLISECONDS * sentence.length);
  }

  later(milliseconds) {
    this.timer = setTimeout(() => {
      const used = this.box.matches(":hover, :focus-within"); // somebody is reading it
      if (used) this.later(AGAIN_MILLISECONDS);
      else this.close();
    }, milliseconds);
  }

  close() {
    clearTimeout(this.timer);
    if (!this.box.hidden) this.past.textContent = `Earlier message: ${this.text.textContent}`;
    this.box.hidden = true;
  }
}
