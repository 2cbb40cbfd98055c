/**
 * How late the steps of speech come: what the first of an utterance must wait so that the next ones
 * leave no gap.
 *
 * Steps are made on a clock, but computed and carried in a time that varies. A first step, in which
 * the model also writes its words, takes longest, and then need not wait.
 */

const REMEMBERED = 120_000; // milliseconds; beyond, the two clocks may have run apart
const ENOUGH = 12; // steps that say something about the next ones
const HICCUP = 250; // milliseconds later than the earliest: no cushion helps
const MARGIN = 0.02; // seconds

export class Arrivals {
  constructor() {
    this.clear();
  }

  /** Another connection, another clock. */
  clear() {
    this.index = 0; // of the step on the server's clock
    this.late = 0; // milliseconds of the last step behind the clock, whose zero does not matter
    this.goesOn = false; // the last step was speech
    this.followed = []; // [when it came, late] of each step that went on with an utterance
  }

  /**
   * @param {{speaking: boolean, skipped: number}} step
   * @param {number} stepMilliseconds of the clock
   * @param {number} now as of `performance.now()`
   */
  take({ speaking, skipped }, stepMilliseconds, now = performance.now()) {
    this.index += 1 + skipped;
    this.late = now - this.index * stepMilliseconds;
    if (speaking && this.goesOn) this.followed.push([now, this.late]);
    this.goesOn = speaking;
    while (this.followed[0]?.[0] < now - REMEMBERED) this.followed.shift();
  }

  /** Seconds that the last step must wait, or null: too little has been seen. */
  get wait() {
    if (this.followed.length < ENOUGH) return null;
    const late = this.followed.map(([, milliseconds]) => milliseconds);
    const hopeless = Math.min(...late) + HICCUP;
    const latest = Math.max(...late.filter((milliseconds) => milliseconds < hopeless));
    return Math.max(0, (latest - this.late) / 1000) + MARGIN;
  }
}
