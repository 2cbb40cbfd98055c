/**
 * What the person said, in words: the model writes down what it heard, once they have spoken.
 *
 * The words stand in the bubble that was made when they began, above the answer. They are no more
 * than the model's hearing, and are marked so.
 */

const BEFORE = 300; // milliseconds before the voice was told from the room: its first, soft sound
const SHORTEST = 0.2; // seconds of a voice that the conversation keeps

export class Transcripts {
  /**
   * @param {import("./socket.js").LiveSocket} socket
   * @param {import("./conversation.js").Conversation} conversation
   */
  constructor(socket, conversation) {
    this.socket = socket;
    this.conversation = conversation;
    this.longest = 30; // seconds: of the hello event
    this.asked = 0;
    this.waiting = new Map(); // ids to bubbles
  }

  /**
   * @param {import("./voice.js").Voice} voice that has ended
   * @param {boolean} wanted whether its words are asked for
   */
  voiceEnded(voice, wanted) {
    const seconds = (voice.lastLoud - voice.began) / 1000;
    const bubble = this.conversation.spoken(seconds < SHORTEST ? 0 : seconds);
    if (bubble && wanted) this.ask(bubble, voice.began);
  }

  /**
   * Ask for the words of the sound since `began`.
   *
   * @param {HTMLElement} bubble for them
   * @param {number} began as of `performance.now()`
   */
  ask(bubble, began) {
    const seconds = Math.min(this.longest, (performance.now() - began + BEFORE) / 1000);
    this.asked += 1;
    if (this.socket.send({ type: "transcribe", id: this.asked, seconds })) {
      this.waiting.set(this.asked, bubble);
    }
  }

  /** @param {{id: number, text: string | null, message?: string}} event */
  take({ id, text, message }) {
    const bubble = this.waiting.get(id);
    this.waiting.delete(id);
    if (bubble) this.conversation.heard(bubble, text, message);
  }

  /** The conversation is over: nobody answers any more. */
  clear() {
    this.waiting.clear();
  }
}
