/**
 * The voice that the model answers in.
 *
 * A voice belongs to a conversation from its start, so choosing one begins another. After the
 * connection was lost the model has begun anew anyway: then what was said stays on the page.
 */

const by = (id) => document.getElementById(id);
const OWN = "quintet"; // what the server calls the model's own voice
const HINT = "It keeps its voice for a whole conversation. Another one begins a new conversation, "
  + "and what was said is forgotten.";
const BEGUN = "A new conversation has begun, in this voice.";
const LATER = "It will have this voice when the connection is back.";

export class VoiceChoice {
  /**
   * @param {import("./socket.js").LiveSocket} socket
   * @param {import("./settings.js").Settings} settings
   */
  constructor(socket, settings) {
    this.socket = socket;
    this.settings = settings;
    this.names = []; // that the server has, besides the model's own
    this.told = ""; // the voice that the server was told; "": the model's own
    this.quiet = false; // whether the next reset is none of the person's
    by("voice-choice").addEventListener("change", () => {
      settings.set("voice", by("voice-choice").value);
    });
    by("settings-open").addEventListener("click", () => this.show(HINT));
  }

  /** What was chosen, if this server has it. */
  get wanted() {
    const name = this.settings.get("voice");
    return this.names.includes(name) ? name : "";
  }

  /** A connection begins. @param {string[]} names of all voices */
  begin(names) {
    this.names = names.filter((name) => name !== OWN);
    this.told = "";
    by("voice-row").hidden = !this.names.length;
    const options = this.names.map((name) => new Option(name, name));
    by("voice-choice").replaceChildren(new Option("Quintet's own", ""), ...options);
    this.show(HINT);
    this.quiet = this.tell();
  }

  /** The person chose a voice. */
  choose() {
    const another = this.wanted !== this.told;
    this.quiet &&= !another;
    const told = this.tell();
    if (another) this.show(told ? BEGUN : LATER);
    else this.show(HINT);
  }

  /** The person wants a new conversation. */
  reset() {
    this.quiet = false;
    this.socket.send({ type: "reset" });
  }

  /** The server began a new conversation. @returns {boolean} whether the page forgets the old one */
  began() {
    const { quiet } = this;
    this.quiet = false;
    return !quiet;
  }

  /** @returns {boolean} whether the server was told of another voice */
  tell() {
    const name = this.wanted;
    if (name === this.told) return false;
    const told = this.socket.send({ type: "voice", name: name || OWN });
    if (told) this.told = name;
    return told;
  }

  show(hint) {
    by("voice-choice").value = this.wanted;
    by("voice-choice-hint").textContent = hint;
  }
}
