/**
 * How late the sound of each step comes: what the first of an utterance must wait so that the next
 * ones leave no gap.
 *
 * Steps are made on a clock, but computed and carried in a time that varies. A first step, in which
 * the model also writes its words, takes longest, and then need not wait.
 */

// Milliseconds. After fewer, the next utterance too often has a later step than all before; in more,
// two clocks, each out by 20 millionths, run apart by more than the margin.
const REMEMBERED = 600_000;
const HICCUP = 250; // milliseconds later than the earliest: no cushion helps
// Seconds. The sound card's clock is read up to 0.006 too early in headless Chromium, and up to
// 0.013 where the card's buffer is twice as long.
const MARGIN = 0.025;
const ENOUGH = 12; // sounds that followed, three utterances: then it is known when they come

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

  /**
   * Seconds by which the last sound, the first of an utterance, came later than those that follow
   * usually do, so that these will be early without any wait; 0 while few have been heard.
   */
  get slack() {
    const late = this.usual();
    if (late.length < ENOUGH || this.late > late[0] + HICCUP) return 0;
    return Math.max(0, this.late - late[late.length >> 1]) / 1000;
  }

  /** Seconds that the last sound must wait, as far as can be told from those that were heard. */
  get wait() {
    const latest = Math.max(this.late, this.usual().at(-1) ?? this.late);
    return (latest - this.late) / 1000 + MARGIN;
  }

  /** How late sounds that followed were, those that no cushion helps left out, in order. */
  usual() {
    const late = this.followed.map(([, milliseconds]) => milliseconds).sort((a, b) => a - b);
    return late.filter((milliseconds) => milliseconds < late[0] + HICCUP);
  }
}
