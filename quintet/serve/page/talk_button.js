/**
 * Push-to-talk: the microphone hears as long as its button, or the space key, is held.
 *
 * Who can only click (a screen reader, a switch) clicks once to begin and once to end.
 */

const KEYS = [" ", "Enter"]; // on the button itself
const TYPES = "input:not([type=checkbox]), textarea, select, button, a, summary, dialog, [role=slider]";

export class TalkButton {
  /**
   * @param {HTMLButtonElement} button
   * @param {() => boolean} isUsed whether the person has chosen push-to-talk
   * @param {(talking: boolean) => void} onTalk
   */
  constructor(button, isUsed, onTalk) {
    this.button = button;
    this.isUsed = isUsed;
    this.onTalk = onTalk;
    this.talking = false;
    this.held = false; // by a pointer or a key
    button.addEventListener("pointerdown", (event) => event.button === 0 && this.hold());
    for (const kind of ["pointerup", "pointercancel"]) {
      window.addEventListener(kind, () => this.release());
    }
    button.addEventListener("click", (event) => this.click(event));
    button.addEventListener("contextmenu", (event) => isUsed() && event.preventDefault());
    document.addEventListener("keydown", (event) => this.key(event, true));
    document.addEventListener("keyup", (event) => this.key(event, false));
    window.addEventListener("blur", () => this.end()); // a key that goes up elsewhere is not told
    document.addEventListener("visibilitychange", () => document.hidden && this.end());
  }

  key(event, down) {
    const here = event.target === this.button && KEYS.includes(event.key);
    const anywhere = event.key === " " && !event.target.closest?.(TYPES);
    if (!this.isUsed() || this.button.disabled || !(here || anywhere)) {
      if (!down && event.key === " ") this.release(); // the focus moved while it was held
      return;
    }
    event.preventDefault(); // no click, and no scrolling
    if (!down) this.release();
    else if (!event.repeat && !event.ctrlKey && !event.altKey && !event.metaKey) this.hold();
  }

  hold() {
    if (!this.isUsed() || this.button.disabled) return;
    this.held = true;
    this.begin();
  }

  release() {
    if (!this.held) return;
    this.held = false;
    this.end();
  }

  /** The click that ends a press of a pointer has a count; one that no pointer made has none. */
  click({ detail: count }) {
    if (!this.isUsed() || count) return;
    if (this.talking) this.end();
    else this.begin();
  }

  begin() {
    if (this.talking) return;
    this.talking = true;
    this.onTalk(true);
  }

  end() {
    if (!this.talking) return;
    this.talking = false;
    this.onTalk(false);
  }
}
