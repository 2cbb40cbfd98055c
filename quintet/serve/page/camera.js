/**
 * The camera or the screen: a preview for the person; for the model a frame whenever the picture
 * has changed.
 */

import { Device, unavailable } from "./devices.js";
import { difference, shrink, thumbnail } from "./pictures.js";

const FRAME_MILLISECONDS = 1000; // between two looks
const CHANGED = 6; // mean difference of the thumbnails, of 255: more than a sensor's noise

export class Camera extends Device {
  /**
   * @param {HTMLVideoElement} view
   * @param {(url: string) => boolean} onFrame takes a JPEG data URL; whether it went out
   * @param {() => void} onLost it was unplugged or its permission withdrawn
   */
  constructor(view, onFrame, onLost) {
    super();
    this.view = view;
    this.onFrame = onFrame;
    this.onLost = onLost;
    this.timer = 0;
    this.source = "camera"; // or "screen"
    this.memory = 10_000; // milliseconds after which the model has forgotten a frame
    this.sent = null; // the last frame: its thumbnail, and when it must be sent again
  }

  get on() {
    return Boolean(this.view.srcObject);
  }

  /** Why there can be none, or "". */
  static get unavailable() {
    return unavailable("camera", Boolean(navigator.mediaDevices?.getUserMedia));
  }

  /** Why no screen can be shared, or "". Phones cannot. */
  static get noScreen() {
    return unavailable("screen", Boolean(navigator.mediaDevices?.getDisplayMedia));
  }

  shows(source) {
    return this.on && this.source === source;
  }

  async open() {
    const stream = await (this.source === "screen" ? askForScreen() : askForCamera(this.choice));
    stream.getVideoTracks()[0].onended = () => {
      this.stop();
      this.onLost();
    };
    this.view.srcObject = stream;
    try {
      await this.view.play();
    } catch (error) {
      this.stop();
      throw new Error(`The ${this.source} gives no picture; try again.`, { cause: error });
    }
    if (!this.on) return; // it went away meanwhile
    this.timer = setInterval(() => this.frame(), FRAME_MILLISECONDS);
    this.frame();
  }

  /** Most of what a camera sees stands still, and the model learned from few pictures. */
  frame() {
    const { videoWidth: width, videoHeight: height } = this.view;
    if (!width) return;
    const small = thumbnail(this.view);
    const now = performance.now();
    const known = this.sent && now < this.sent.until;
    if (known && difference(small, this.sent.small) < CHANGED) return;
    const went = this.onFrame(shrink(this.view, width, height));
    this.sent = went ? { small, until: now + this.memory } : null;
  }

  /** The model remembers no frame, so the next one goes out in any case. */
  forget() {
    this.sent = null;
  }

  stop() {
    clearInterval(this.timer);
    this.view.srcObject?.getTracks().forEach((track) => track.stop());
    this.view.srcObject = null;
    this.sent = null;
  }
}

async function askForCamera(choice) {
  const wanted = { video: { width: 640, facingMode: "environment", ...choice } };
  try {
    return await navigator.mediaDevices.getUserMedia(wanted);
  } catch (error) {
    const refused = error.name === "NotAllowedError";
    throw new Error(
      refused
        ? "The browser may not use the camera; allow it beside the address."
        : "There is no camera that is free; show a picture file instead.",
      { cause: error },
    );
  }
}

async function askForScreen() {
  try {
    return await navigator.mediaDevices.getDisplayMedia({ video: { frameRate: 5 } });
  } catch (error) {
    throw new Error("No screen was chosen; share one, or show a picture file.", { cause: error });
  }
}
