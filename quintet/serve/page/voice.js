/**
 * Tells the person's voice from the room, by the level of the microphone's pieces of 20 ms.
 *
 * A voice is well above the room's own noise, which is a minimum that slowly forgets. It begins
 * after a tenth of a second without a break, so that a click or a key is none, and ends after a
 * third of a second.
 */

const LOUD = 0.02; // RMS, 0 to 1
const OVER_NOISE = 3; // times the room's own
const NOISE_GROWTH = 1.002; // a piece: seven seconds of speech double what is taken for the room
const ONSET = 5; // pieces
const HANGOVER = 16;

export class Voice {
  speaking = false;
  /** When the voice began and when it was last loud: `performance.now()`. */
  began = 0;
  lastLoud = 0;
  noise = 0;
  loud = 0; // pieces without a break
  quiet = 0;

  /**
   * @param {number} level RMS of a piece, 0 to 1
   * @param {number} now its end, as of `performance.now()`
   * @returns {"began" | "ended" | ""} what this piece has changed
   */
  take(level, now) {
    const isLoud = level > Math.max(LOUD, OVER_NOISE * this.noise);
    this.noise = Math.min(level, Math.max(this.noise, LOUD / 20) * NOISE_GROWTH);
    this.loud = isLoud ? this.loud + 1 : 0;
    this.quiet = isLoud ? 0 : this.quiet + 1;
    if (this.loud === 1 && !this.speaking) this.began = now;
    if (isLoud && (this.speaking || this.loud >= ONSET)) this.lastLoud = now;
    if (!this.speaking && this.loud >= ONSET) return this.turn(true, "began");
    if (this.speaking && this.quiet >= HANGOVER) return this.turn(false, "ended");
    return "";
  }

  turn(speaking, word) {
    this.speaking = speaking;
    return word;
  }

  /** The microphone went off. */
  stop() {
    this.speaking = false;
    this.loud = this.quiet = 0;
  }
}
