/**
 * Plays the model's speech: pieces of one step each, laid end to end on the sound card's clock.
 *
 * A piece that begins an utterance waits a little (the cushion), so that a late next piece leaves
 * no gap: as long as earlier pieces make likely (`Arrivals`), and longer while few have been heard.
 * Each gap that does happen makes it longer, up to a limit, and each utterance a little shorter. A
 * piece that itself comes late, as a first one does with all its words, has waited already.
 */

import { Arrivals } from "./arrivals.js";

const CUSHION = 0.06; // seconds, at first
const CUSHION_MAX = 0.25;
const CUSHION_GROWTH = 0.02;
const CUSHION_SHRINK = 0.0005; // with each utterance: a gap is remembered for 40
const FADE = 0.005; // seconds, so that stopping makes no click

export class Player {
  /** @param {number} sampleRate of the protocol */
  constructor(sampleRate) {
    this.sampleRate = sampleRate;
    this.arrivals = new Arrivals();
    this.least = CUSHION; // seconds that the next cushion and its slack have, whatever is likely
    this.slack = 0; // seconds that the last piece which began was late itself
    this.cushion = CUSHION; // seconds that the last piece waited which began
    this.ends = 0; // when the last piece that was laid down is over, on the context's clock
    this.pieces = new Set(); // sources that have not ended
    this.secondsPlayed = 0;
    this.underruns = 0; // gaps inside an utterance, as its next piece came too late
    this.muted = false;
    // The least that the sound card allows: 16 ms in headless Chromium, by itself 32.
    this.context = new AudioContext({ sampleRate, latencyHint: 0 });
    this.volume = this.context.createGain();
    this.meter = this.context.createAnalyser();
    this.meter.fftSize = 1024;
    this.volume.connect(this.meter).connect(this.context.destination);
    this.window = new Float32Array(this.meter.fftSize);
  }

  /** Whether the browser waits for a click or a key before it plays anything. */
  get blocked() {
    return this.context.state !== "running";
  }

  /** Times that the sound card found nothing to play; NaN if the browser cannot tell. */
  get glitches() {
    return this.context.playbackStats?.underrunEvents ?? NaN;
  }

  /** Whether something is being heard, or is about to be. */
  get audible() {
    return !this.muted && this.ends > this.context.currentTime;
  }

  /** @param {boolean} muted */
  mute(muted) {
    this.muted = muted;
    this.volume.gain.setTargetAtTime(muted ? 0 : 1, this.context.currentTime, FADE);
  }

  async resume() {
    await this.context.resume();
  }

  /**
   * @param {ArrayBuffer} bytes PCM16 of one step
   * @param {boolean} goesOn whether the step before was speech, too
   * @returns {number} when its first sample leaves the loudspeaker, as of `performance.now()`;
   *     NaN if it is not played
   */
  play(bytes, goesOn) {
    this.arrivals.sound(goesOn);
    if (this.blocked || !bytes.byteLength) return NaN; // never hear later what was said now
    const samples = Float32Array.from(new Int16Array(bytes), (sample) => sample / 32768);
    const buffer = this.context.createBuffer(1, samples.length, this.sampleRate);
    buffer.copyToChannel(samples, 0);
    const source = new AudioBufferSourceNode(this.context, { buffer });
    source.connect(this.volume);
    const begins = this.begin(goesOn);
    this.ends = begins + buffer.duration;
    source.onended = () => {
      this.pieces.delete(source);
      this.secondsPlayed += buffer.duration;
    };
    this.pieces.add(source);
    source.start(begins);
    return this.heardAt(begins);
  }

  begin(goesOn) {
    const now = this.context.currentTime;
    if (this.ends > now) return this.ends;
    if (this.ends && goesOn) {
      this.underruns += 1;
      this.least = Math.min(CUSHION_MAX, this.cushion + this.slack + CUSHION_GROWTH);
    } else {
      this.least = Math.max(0, this.least - CUSHION_SHRINK);
    }
    this.slack = goesOn ? 0 : this.arrivals.slack;
    const needed = Math.max(this.least - this.slack, this.arrivals.wait);
    this.cushion = Math.min(CUSHION_MAX, needed);
    return now + this.cushion;
  }

  /** A time of the context, as of `performance.now()`, at the loudspeaker. */
  heardAt(time) {
    const latency = this.context.outputLatency || this.context.baseLatency || 0;
    return performance.now() + 1000 * (time - this.context.currentTime + latency);
  }

  /**
   * Stop at once: what was said belongs to an old conversation, or somebody interrupts.
   *
   * @returns {number} when it is silent, as of `performance.now()`
   */
  flush() {
    const now = this.context.currentTime;
    this.volume.gain.setTargetAtTime(0, now, FADE / 3);
    this.volume.gain.setTargetAtTime(this.muted ? 0 : 1, now + 2 * FADE, FADE / 3);
    for (const source of this.pieces) {
      source.onended = null;
      source.stop(now + 2 * FADE);
    }
    this.pieces.clear();
    this.ends = 0;
    return this.heardAt(now + 2 * FADE);
  }

  /** RMS of what is heard now, 0 to 1. */
  level() {
    this.meter.getFloatTimeDomainData(this.window);
    return Math.sqrt(this.window.reduce((sum, x) => sum + x * x, 0) / this.window.length);
  }
}
