/** The conversation as bubbles: what the person typed and showed, what the model wrote and drew. */

const SILENT_STEPS = 4; // after which an answer counts as over even without its end

export class Conversation {
  /**
   * @param {HTMLElement} log that scrolls
   * @param {HTMLElement} announcement read aloud by screen readers: whole answers, not syllables
   */
  constructor(log, announcement) {
    this.log = log;
    this.announcement = announcement;
    this.welcome = log.querySelector("#welcome");
    this.captions = true; // words are shown, and read aloud by screen readers
    this.atEnd = true; // and not scrolled back to read something older
    let before = 0; // scrollTop: only a person makes it smaller, but what comes moves the end
    log.addEventListener("scroll", () => {
      const left = log.scrollHeight - log.scrollTop - log.clientHeight;
      this.atEnd = left < 40 || (this.atEnd && log.scrollTop >= before);
      before = log.scrollTop;
    });
    new ResizeObserver(() => this.follow()).observe(log);
    this.clear();
  }

  clear() {
    this.words = null; // the bubble that the model writes into
    this.drawing = null; // the picture that it draws
    this.latest = null; // the last such bubble, complete or not
    this.voice = null; // the bubble that is being spoken
    this.person = null; // the bubble of what the person is saying
    this.silentSteps = 0;
    this.log.replaceChildren(this.welcome);
  }

  /** @param {number} seconds that the model looks back */
  set memory(seconds) {
    this.welcome.querySelector("#memory").textContent = String(Math.round(seconds));
  }

  typed(text) {
    this.words = null; // the answer stands under the question
    this.atEnd = true;
    this.bubble("person", "You wrote").textContent = text;
    this.follow(); // the bubble has its height only now
  }

  /** The person begins to speak: what they say is not known yet, but when they do is. */
  speaks() {
    this.person ??= this.bubble("person spoken", "You");
    this.person.textContent = "speaking …";
  }

  /**
   * @param {number} seconds that the person spoke; 0 if it came to nothing
   * @returns {HTMLElement | null} what says so, if it came to something
   */
  spoken(seconds) {
    const { person } = this;
    if (!person) return null;
    if (seconds) this.person.textContent = `spoke for ${seconds.toFixed(1)} s`;
    else this.person.parentElement.remove();
    this.person = null;
    if (seconds) this.words = null; // the answer stands under the question
    return seconds ? person : null;
  }

  /**
   * What somebody said, as the model heard it.
   *
   * @param {HTMLElement} content of `spoken`
   * @param {string | null} text "" if it heard no words, null if it could not write them down
   * @param {string} reason why it could not
   */
  heard(content, text, reason = "") {
    const bubble = content.parentElement;
    const how = document.createElement("small");
    how.textContent = text === null ? "not written down" : "Quintet made out no words";
    how.title = reason;
    if (text) {
      bubble.classList.replace("spoken", "heard");
      bubble.querySelector(".for-readers").textContent = "You said: ";
      content.textContent = text;
      how.textContent = "as Quintet heard it";
    }
    bubble.append(how);
    this.follow();
  }

  /** The speech was stopped in the middle. */
  interrupted() {
    const bubble = (this.voice ?? this.words ?? this.latest)?.parentElement;
    bubble?.classList.add("interrupted");
    bubble?.classList.remove("speaking");
    this.voice = null;
  }

  /** @param {string} source URL of the picture */
  showed(source, name) {
    this.words = null;
    const image = new Image();
    image.src = source;
    image.alt = name ? `Picture of ${name}` : "Your picture";
    this.bubble("person picture", "You showed").append(image);
  }

  /** @param {{text: string, text_ended: boolean, speaking: boolean}} step */
  step({ text, text_ended: ended, speaking }) {
    if (text) {
      this.words ??= this.latest = this.bubble("model words", "Quintet wrote");
      this.words.textContent += text;
      this.follow();
    }
    this.markSpoken(speaking);
    this.silentSteps = text || speaking ? 0 : this.silentSteps + 1;
    if (this.words && (ended || this.silentSteps > SILENT_STEPS)) {
      if (this.captions) this.announcement.textContent = this.words.textContent;
      this.words = null;
    }
  }

  /** Speech often goes on after its text has ended: the mark stays on that bubble. */
  markSpoken(speaking) {
    if (speaking) this.voice ??= this.words ?? this.latest;
    const bubble = this.voice?.parentElement;
    bubble?.classList.toggle("speaking", speaking && !bubble.classList.contains("interrupted"));
    if (!speaking) this.voice = null;
  }

  /** @param {{data: string, done: boolean}} event @returns {HTMLImageElement} */
  drew(event) {
    if (!this.drawing) {
      this.drawing = new Image();
      this.drawing.alt = "The picture that Quintet draws";
      this.bubble("model picture drawing", "Quintet draws").append(this.drawing);
    }
    const image = this.drawing;
    image.src = event.data;
    if (event.done) {
      image.alt = "The picture that Quintet drew";
      image.closest(".bubble").classList.remove("drawing");
      this.drawing = null;
    }
    return image;
  }

  /** A line between what the model remembers and what it does not. */
  divide(text) {
    this.words = this.drawing = this.latest = this.voice = null;
    this.spoken(0);
    for (const bubble of this.log.children) bubble.classList.remove("speaking", "drawing");
    const line = document.createElement("p");
    line.className = "divider";
    line.textContent = text;
    if (this.log.querySelector(".bubble")) this.add(line);
  }

  bubble(kind, name) {
    const bubble = document.createElement("div");
    bubble.className = `bubble ${kind}`;
    const who = document.createElement("span");
    who.className = "for-readers";
    who.textContent = `${name}: `;
    const content = document.createElement("div");
    bubble.append(who, content);
    this.add(bubble);
    return content;
  }

  add(element) {
    this.welcome.remove();
    // A picture has its size only when it is decoded.
    element.addEventListener("load", () => this.follow(), { capture: true });
    this.log.append(element);
    this.follow();
  }

  follow() {
    if (this.atEnd && !this.welcome.isConnected) this.log.scrollTop = this.log.scrollHeight;
  }
}
