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
 * @param {string[]} kinds such as "audioinput"
 * @returns {Promise<Object<string, MediaDeviceInfo[]>>} of each kind, those that have a name;
 *     browsers tell names only to a page that has been allowed a device of the kind
 */
export async function devicesOf(kinds) {
  const devices = (await navigator.mediaDevices?.enumerateDevices?.().catch(() => [])) ?? [];
  const named = devices.filter(({ label, deviceId }) => label && deviceId !== "default");
  return Object.fromEntries(kinds.map((kind) => [kind, named.filter((it) => it.kind === kind)]));
}

/**
 * A device that is switched on once at a time: while the browser still asks the person, a second
 * click must not open a second stream, which nobody would ever close.
 */
export class Device {
  starting = false;
  deviceId = ""; // wanted; the browser's choice if it is "" or not there

  /** What `getUserMedia` is told of the choice: a device that is gone must not be an error. */
  get choice() {
    return this.deviceId ? { deviceId: { ideal: this.deviceId } } : {};
  }

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
