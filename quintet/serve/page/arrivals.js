/**
 * How late the steps of speech come: what one of them must wait so that the next leave no gap.
 *
 * Steps are made on a clock, but computed and carried in a time that varies. Whoever plays a step
 * that came early at once has nothing left when a later one takes its time.
 */

const REMEMBERED = 120_000; // milliseconds; beyond, the two clocks may have run apart
const ENOUGH = 4; // steps that say something about the next ones
const MARGIN = 0.015; // seconds

export class Arrivals {
  constructor() {
    this.clear();
  }

  /** Another connection, another clock. */
  clear() {
    this.index = 0; // of the step on the server's clock
    this.late = 0; // milliseconds of the last step behind the clock, whose zero does not matter
    this.spoken = []; // [when it came, late] of each step of speech
  }

  /**
   * @param {{speaking: boolean, skipped: number}} step
   * @param {number} stepMilliseconds of the clock
   * @param {number} now as of `performance.now()`
   */
  take({ speaking, skipped }, stepMilliseconds, now = performance.now()) {
    this.index += 1 + skipped;
    this.late = now - this.index * stepMilliseconds;
    if (!speaking) return;
    this.spoken.push([now, this.late]);
    while (this.spoken[0][0] < now - REMEMBERED) this.spoken.shift();
  }

  /** Seconds that the last step must wait, or null: too little has been seen. */
  get wait() {
    if (this.spoken.length < ENOUGH) return null;
    const latest = this.spoken.reduce((most, [, late]) => Math.max(most, late), -Infinity);
    return Math.max(0, (latest - this.late) / 1000) + MARGIN;
  }
}
