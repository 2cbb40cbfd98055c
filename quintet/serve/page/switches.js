/** Buttons that switch something, and meters. */

const by = (id) => document.getElementById(id);

/** A device that cannot be had is not disabled: a touch must be able to ask why. */
export function showSwitch(name, on, unavailable) {
  by(name).setAttribute("aria-pressed", String(on));
  by(name).setAttribute("aria-disabled", String(Boolean(unavailable)));
  by(name).title = unavailable || `Switch the ${name} ${on ? "off" : "on"}`;
}

/** @param {number} level 0 to 1 */
export function setMeter(id, level) {
  by(id).style.setProperty("--level", level.toFixed(2));
  by(id).setAttribute("aria-valuenow", String(Math.round(100 * level)));
}

/**
 * Switch a device on or off.
 *
 * @param {import("./devices.js").Device} device
 * @param {string} unavailable why there can be none, or ""
 * @param {() => void} show called while the browser asks, and at the end
 * @param {(sentence: string) => void} notify is told what went wrong
 */
export async function toggle(device, unavailable, show, notify) {
  if (unavailable) notify(unavailable);
  if (unavailable || device.starting) return;
  try {
    if (device.on) device.stop();
    else {
      const starting = device.start();
      show();
      await starting;
    }
  } catch (error) {
    notify(error.message);
  }
  show();
}
