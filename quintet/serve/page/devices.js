/** What the microphone and the camera have in common. */

/**
 * @param {string} name of the device
 * @param {boolean} supported by this browser
 * @returns {string} why a page cannot have it at all, as a sentence for the person, or ""
 */
export function unavailable(name, supported) {
  if (!window.isSecureContext) {
    return `The browser gives the ${name} only to pages over https or on its own machine.`;
  }
  return supported ? "" : `This browser cannot give the ${name} to a page; try another.`;
}

/**
 * A device that is switched on once at a time: while the browser still asks the person, a second
 * click must not open a second stream, which nobody would ever close.
 */
export class Device {
  starting = false;

  /** Throws an Error whose message is a sentence for the person. */
  async start() {
    if (this.on || this.starting) return;
    this.starting = true;
    try {
      await this.open();
    } finally {
      this.starting = false;
    }
  }
}
