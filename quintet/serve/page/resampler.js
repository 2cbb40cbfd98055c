/**
 * Sound from any sample rate to the protocol's, piece by piece without a seam.
 *
 * A windowed sinc whose cut-off is the lower of the two Nyquist frequencies, so that what the
 * target rate cannot hold is removed and not folded back into the voice.
 */

const ZERO_CROSSINGS = 12; // on each side of the kernel: about 60 dB of stop band
const PHASES = 256; // kernels between two input samples

export class Resampler {
  /**
   * @param {number} from samples per second that come
   * @param {number} to samples per second that go
   */
  constructor(from, to) {
    this.ratio = from / to;
    const cutoff = Math.min(1, to / from) * 0.95;
    this.half = Math.ceil(ZERO_CROSSINGS / cutoff);
    this.kernels = Array.from({ length: PHASES + 1 }, (_, phase) =>
      kernel(phase / PHASES, this.half, cutoff),
    );
    this.kept = new Float32Array(this.half); // silence before the first sample
    this.position = this.half; // of the next output, in samples of `kept` and what follows
  }

  /**
   * @param {Float32Array} piece [N] at the one rate
   * @returns {Float32Array} about N / ratio samples at the other; over time exactly that many
   */
  push(piece) {
    const input = new Float32Array(this.kept.length + piece.length);
    input.set(this.kept);
    input.set(piece, this.kept.length);
    const output = [];
    for (; this.position + this.half + 1 <= input.length; this.position += this.ratio) {
      const before = Math.floor(this.position);
      const weights = this.kernels[Math.round((this.position - before) * PHASES)];
      const first = before - this.half + 1;
      let sum = 0;
      for (let i = 0; i < weights.length; i++) sum += weights[i] * input[first + i];
      output.push(sum);
    }
    const done = Math.max(0, Math.floor(this.position) - this.half);
    this.kept = input.slice(done);
    this.position -= done;
    return Float32Array.from(output);
  }
}

/** Weights of the 2 * half samples around a point `offset` after the middle one; their sum is 1. */
function kernel(offset, half, cutoff) {
  const weights = new Float32Array(2 * half);
  let sum = 0;
  for (let i = 0; i < weights.length; i++) {
    const x = i - half + 1 - offset;
    const sinc = x === 0 ? 1 : Math.sin(Math.PI * cutoff * x) / (Math.PI * cutoff * x);
    const window = Math.abs(x) < half ? 0.5 + 0.5 * Math.cos((Math.PI * x) / half) : 0;
    weights[i] = sinc * window;
    sum += weights[i];
  }
  return weights.map((weight) => weight / sum);
}
