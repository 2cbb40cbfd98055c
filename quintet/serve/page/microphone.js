/**
 * The microphone: asks for it, hands out PCM16 pieces, and silence while it is off or closed.
 *
 * The model hears all the time; silence is something that it hears too.
 */

import { Device, unavailable } from "./devices.js";

const SILENCE_MILLISECONDS = 250; // one step
const WANTED = {
  channelCount: 1,
  echoCancellation: true, // else the model hears itself from the loudspeaker
  noiseSuppression: true,
  autoGainControl: true,
};

export class Microphone extends Device {
  /**
   * @param {number} sampleRate of the protocol
   * @param {(samples: ArrayBuffer, level: number) => void} onSound PCM16 and its RMS, 0 to 1
   * @param {(reason: string) => void} onLost it was unplugged or its permission withdrawn
   */
  constructor(sampleRate, onSound, onLost) {
    super();
    this.sampleRate = sampleRate;
    this.onSound = onSound;
    this.onLost = onLost;
    this.stream = null;
    this.context = null;
    this.closed = false; // it is on, but what it hears goes nowhere: between two pushes to talk
    const zeros = new ArrayBuffer((2 * sampleRate * SILENCE_MILLISECONDS) / 1000);
    setInterval(() => this.on || onSound(zeros, 0), SILENCE_MILLISECONDS);
  }

  get on() {
    return this.stream !== null;
  }

  /** Why there can be none, or "". */
  static get unavailable() {
    const supported = navigator.mediaDevices?.getUserMedia && window.AudioWorkletNode;
    return unavailable("microphone", Boolean(supported));
  }

  async open() {
    const stream = await ask({ audio: { ...WANTED, ...this.choice } });
    try {
      await this.listen(stream);
    } catch (error) {
      stream.getTracks().forEach((track) => track.stop());
      this.stop();
      throw new Error("This browser cannot read the microphone; try another.", { cause: error });
    }
    stream.getAudioTracks()[0].onended = () => {
      this.stop();
      this.onLost("The microphone went away.");
    };
    this.stream = stream;
  }

  async listen(stream) {
    this.context = new AudioContext({ latencyHint: 0 }); // its pieces come as evenly as can be
    await this.context.audioWorklet.addModule("microphone_worklet.js");
    const node = new AudioWorkletNode(this.context, "microphone", {
      numberOfOutputs: 0,
      processorOptions: { sampleRate: this.sampleRate },
    });
    node.port.onmessage = ({ data }) => this.on && this.take(data);
    this.context.createMediaStreamSource(stream).connect(node);
    await this.context.resume();
  }

  take({ samples, level }) {
    if (this.closed) this.onSound(new ArrayBuffer(samples.byteLength), 0);
    else this.onSound(samples, level);
  }

  stop() {
    this.stream?.getTracks().forEach((track) => track.stop());
    this.context?.close();
    this.stream = this.context = null;
  }
}

async function ask(wanted) {
  try {
    return await navigator.mediaDevices.getUserMedia(wanted);
  } catch (error) {
    throw new Error(refusal(error), { cause: error });
  }
}

function refusal(error) {
  if (error.name === "NotAllowedError") {
    return "The browser may not use the microphone; allow it beside the address, or type.";
  }
  if (error.name === "NotFoundError") return "There is no microphone; plug one in, or type.";
  return "The microphone is in use by another program; close that and try again.";
}
