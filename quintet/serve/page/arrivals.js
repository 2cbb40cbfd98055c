/**
 * How late the sound of each step comes: what the first of an utterance must wait so that the next
 * ones leave no gap.
 *
 * Steps are made on a clock, but computed and carried in a time that varies. A first step, in which
 * the model also writes its words, takes longest, and then need not wait.
 */

// Milliseconds. After fewer, the next utterance too often has a later step than all before; in more,
// two clocks, each out by 25 millionths, run apart by more than the margin.
const REMEMBERED = 600_000;
const HICCUP = 250; // milliseconds later than the earliest: no cushion helps
const MARGIN = 0.03; // seconds: the sound card's clock is read up to 0.013 too early

export class Arrivals {
  constructor() {
    this.clear();
  }

  /** Another connection, another clock. */
  clear() {
    this.due = 0; // milliseconds of the step on the server's clock
    this.late = 0; // milliseconds of the last sound behind that clock, whose zero does not matter
    this.followed = []; // [when it came, late] of each sound that went on with an utterance
  }

  /** Each step, before its sound. @param {number} milliseconds that it and those left out take */
  step(milliseconds) {
    this.due += milliseconds;
  }

  /**
   * @param {boolean} goesOn whether the step before was speech, too
   * @param {number} now as of `performance.now()`
   */
  sound(goesOn, now = performance.now()) {
    this.late = now - this.due;
    if (goesOn) this.followed.push([now, this.late]);
    while (this.followed[0]?.[0] < now - REMEMBERED) this.followed.shift();
  }

  /** Seconds that the last sound must wait, as far as can be told from those that were heard. */
  get wait() {
    const late = this.followed.map(([, milliseconds]) => milliseconds);
    const hopeless = Math.min(...late) + HICCUP;
    const latest = Math.max(this.late, ...late.filter((milliseconds) => milliseconds < hopeless));
    return (latest - this.late) / 1000 + MARGIN;
  }
}
