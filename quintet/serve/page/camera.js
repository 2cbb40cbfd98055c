/** The camera: a preview for the person, one frame a second for the model. */

import { shrink } from "./pictures.js";

const FRAME_MILLISECONDS = 1000;

export class Camera {
  /**
   * @param {HTMLVideoElement} view
   * @param {(url: string) => void} onFrame a JPEG data URL
   * @param {() => void} onLost it was unplugged or its permission withdrawn
   */
  constructor(view, onFrame, onLost) {
    this.view = view;
    this.onFrame = onFrame;
    this.onLost = onLost;
    this.timer = 0;
  }

  get on() {
    return Boolean(this.view.srcObject);
  }

  static get possible() {
    return Boolean(navigator.mediaDevices?.getUserMedia);
  }

  /** Throws an Error whose message is a sentence for the person. */
  async start() {
    const wanted = { video: { width: 640, facingMode: "environment" } };
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia(wanted);
    } catch (error) {
      const refused = error.name === "NotAllowedError";
      throw new Error(
        refused
          ? "The browser may not use the camera; allow it beside the address."
          : "There is no camera that is free; show a picture file instead.",
        { cause: error },
      );
    }
    stream.getVideoTracks()[0].onended = () => {
      this.stop();
      this.onLost();
    };
    this.view.srcObject = stream;
    await this.view.play();
    this.timer = setInterval(() => this.frame(), FRAME_MILLISECONDS);
    this.frame();
  }

  frame() {
    const { videoWidth: width, videoHeight: height } = this.view;
    if (width) this.onFrame(shrink(this.view, width, height));
  }

  stop() {
    clearInterval(this.timer);
    this.view.srcObject?.getTracks().forEach((track) => track.stop());
    this.view.srcObject = null;
  }
}
