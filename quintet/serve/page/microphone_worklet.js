/**
 * Runs in the audio thread: takes what the microphone gives, at whatever rate the machine has, and
 * posts PCM16 pieces of about 20 ms at the protocol's rate, each with its level.
 */

import { Resampler } from "./resampler.js";

const PIECE_SECONDS = 0.02; // all of it is delay

class MicrophoneProcessor extends AudioWorkletProcessor {
  constructor(options) {
    super();
    const rate = options.processorOptions.sampleRate;
    this.resampler = new Resampler(sampleRate, rate);
    this.piece = new Int16Array(Math.round(rate * PIECE_SECONDS));
    this.length = 0;
    this.energy = 0; // sum of squares of the piece
  }

  process(inputs) {
    const channels = inputs[0];
    if (channels.length) this.take(this.resampler.push(mono(channels)));
    return true;
  }

  take(sound) {
    for (const value of sound) {
      const sample = Math.max(-1, Math.min(1, value));
      this.piece[this.length++] = Math.round(sample * 32767);
      this.energy += sample * sample;
      if (this.length === this.piece.length) this.post();
    }
  }

  post() {
    const level = Math.sqrt(this.energy / this.length);
    const piece = this.piece;
    this.piece = new Int16Array(piece.length);
    this.length = this.energy = 0;
    this.port.postMessage({ samples: piece.buffer, level }, [piece.buffer]);
  }
}

function mono(channels) {
  if (channels.length === 1) return channels[0];
  return channels[0].map((_, i) => channels.reduce((sum, c) => sum + c[i], 0) / channels.length);
}

registerProcessor("microphone", MicrophoneProcessor);
