/**
 * The model's speech on its way to the ear: played, unless the person has interrupted it.
 *
 * The model learned to fall silent half a second after somebody begins to speak, and not always
 * does. So the page stops playing at once, and passes over the rest of that utterance: until the
 * model writes something new, as it does with every answer, or has been silent for a second.
 */

const AUDIBLE = 330; // of 32,768: a sample that is heard
const PAUSE = 4; // silent steps; shorter pauses stand within an utterance
const LONGEST = 5000; // milliseconds after which an utterance is no answer to what was said

export class Speech {
  /**
   * @param {import("./player.js").Player} player
   * @param {import("./voice.js").Voice} voice of the person
   */
  constructor(player, voice) {
    this.player = player;
    this.voice = voice;
    this.hushed = false; // the utterance under way is not played
    this.goesOn = false; // the step before was speech
    this.begun = false; // something of the utterance was audible
    this.textEnded = false;
    this.silent = 0; // steps without speech
    this.answered = 0; // `lastLoud` of the voice that was answered last
    this.pending = null; // when speech began while the voice, for all that was known, went on
    /**
     * What followed a voice: when that was last loud, the milliseconds from then to the first
     * audible sample (`delay`), and whether this was `early`: before the voice was known to be over.
     */
    this.answers = [];
    this.tooEarly = 0; // speech that began before a voice was last loud: no answer to it
    /** Milliseconds from the beginning of a voice over the speech to silence. */
    this.stops = [];
  }

  /** Each step, before its sound. @param {{speaking: boolean, text: string}} step */
  step({ speaking, text, text_ended: ended }) {
    const newMessage = Boolean(text) && this.textEnded;
    if (text) this.textEnded = ended;
    this.silent = speaking ? 0 : this.silent + 1;
    if (newMessage || this.silent >= PAUSE) this.hushed = false;
    if (newMessage || !speaking) this.begun = false;
    if (!speaking) this.goesOn = false;
  }

  /** @param {ArrayBuffer} bytes PCM16 of a step */
  hear(bytes) {
    const { goesOn } = this;
    this.goesOn = true;
    if (this.hushed) return;
    const from = this.player.play(bytes, goesOn);
    if (this.begun || Number.isNaN(from)) return;
    const first = new Int16Array(bytes).findIndex((sample) => Math.abs(sample) > AUDIBLE);
    if (first < 0) return;
    this.begun = true;
    this.measure(from + (1000 * first) / this.player.sampleRate);
  }

  measure(at) {
    const { speaking, lastLoud } = this.voice;
    if (speaking) this.pending = { at, lastLoud };
    else this.note(at - lastLoud, false);
  }

  /** The voice has ended: what began since it was last loud was its answer. */
  voiceEnded() {
    const { pending, voice } = this;
    this.pending = null;
    if (!pending) return;
    if (pending.lastLoud === voice.lastLoud) this.note(pending.at - pending.lastLoud, true);
    else this.tooEarly += 1;
  }

  note(delay, early) {
    const { lastLoud } = this.voice;
    if (lastLoud === this.answered || delay > LONGEST) return;
    this.answered = lastLoud;
    this.answers.push({ lastLoud, delay, early });
  }

  /**
   * @param {number} since when the person wants silence, as of `performance.now()`
   * @returns {boolean} whether there was something to stop
   */
  interrupt(since) {
    if (!this.player.audible || this.hushed) return false;
    this.stops.push(this.player.flush() - since);
    this.hushed = true;
    return true;
  }

  /** The conversation is over. */
  clear() {
    this.player.flush();
    this.hushed = this.goesOn = this.begun = this.textEnded = false;
  }
}
