/**
 * Plays the model's speech: pieces of one step each, laid end to end on the sound card's clock.
 *
 * A piece that begins an utterance waits a little (the cushion), so that a late next piece leaves
 * no gap; each gap that does happen makes the cushion longer, up to a limit.
 */

const CUSHION = 0.08; // seconds
const CUSHION_MAX = 0.25;
const CUSHION_GROWTH = 0.02;
const UTTERANCE_GAP = 0.4; // seconds without a piece after which the next begins an utterance
const FADE = 0.005; // seconds, so that stopping makes no click

export class Player {
  /** @param {number} sampleRate of the protocol */
  constructor(sampleRate) {
    this.sampleRate = sampleRate;
    this.cushion = CUSHION;
    this.ends = 0; // when the last piece that was laid down is over, on the context's clock
    this.pieces = new Set(); // sources that have not ended
    this.secondsPlayed = 0;
    this.muted = false;
    this.context = new AudioContext({ sampleRate });
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

  /** @param {boolean} muted */
  mute(muted) {
    this.muted = muted;
    this.volume.gain.setTargetAtTime(muted ? 0 : 1, this.context.currentTime, FADE);
  }

  async resume() {
    await this.context.resume();
  }

  /** @param {ArrayBuffer} bytes PCM16 of one step */
  play(bytes) {
    if (this.blocked) return; // never hear minutes later what was said now
    const samples = Float32Array.from(new Int16Array(bytes), (sample) => sample / 32768);
    if (!samples.length) return;
    const buffer = this.context.createBuffer(1, samples.length, this.sampleRate);
    buffer.copyToChannel(samples, 0);
    const source = new AudioBufferSourceNode(this.context, { buffer });
    source.connect(this.volume);
    const begins = this.begin();
    this.ends = begins + buffer.duration;
    source.onended = () => {
      this.pieces.delete(source);
      this.secondsPlayed += buffer.duration;
    };
    this.pieces.add(source);
    source.start(begins);
  }

  begin() {
    const now = this.context.currentTime;
    if (this.ends > now) return this.ends;
    if (this.ends && now - this.ends < UTTERANCE_GAP) {
      this.cushion = Math.min(CUSHION_MAX, this.cushion + CUSHION_GROWTH);
    }
    return now + this.cushion;
  }

  /** Stop at once, for what was said belongs to an old conversation. */
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
  }

  /** RMS of what is heard now, 0 to 1. */
  level() {
    this.meter.getFloatTimeDomainData(this.window);
    return Math.sqrt(this.window.reduce((sum, x) => sum + x * x, 0) / this.window.length);
  }
}
