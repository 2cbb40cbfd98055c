/** What a person has set, kept in this browser from one visit to the next. */

const KEPT_AS = "quintet.settings";

/** null: as the server has it. The two devices are ids; "" lets the browser choose. */
export const DEFAULTS = Object.freeze({
  textTemperature: null,
  audioTemperature: null,
  imageTemperature: null,
  pushToTalk: false,
  bargeIn: true, // speech stops when the person talks over it
  captions: true,
  transcripts: true, // of what the person says
  voice: "", // that it answers in; "": its own
  microphone: "",
  camera: "",
});

export class Settings {
  /**
   * @param {(name: string) => void} onChange told after each change
   * @param {Storage | null} storage none where the browser keeps nothing
   */
  constructor(onChange, storage = browserStorage()) {
    this.onChange = onChange;
    this.storage = storage;
    this.values = { ...DEFAULTS, ...this.kept() };
  }

  get(name) {
    return this.values[name];
  }

  set(name, value) {
    if (this.values[name] === value) return;
    this.values[name] = value;
    this.keep();
    this.onChange(name);
  }

  reset() {
    for (const [name, value] of Object.entries(DEFAULTS)) this.set(name, value);
  }

  /** What the server is to be told; a temperature that is left out is the server's own. */
  get sampling() {
    const event = { type: "sampling" };
    for (const medium of ["text", "audio", "image"]) {
      const temperature = this.values[`${medium}Temperature`];
      if (temperature !== null) event[`${medium}_temperature`] = temperature;
    }
    return event;
  }

  /** What was kept and still has a meaning: the page may be newer than what it finds. */
  kept() {
    try {
      const found = JSON.parse(this.storage?.getItem(KEPT_AS) ?? "{}") ?? {};
      return Object.fromEntries(Object.keys(DEFAULTS)
        .filter((name) => fits(DEFAULTS[name], found[name]))
        .map((name) => [name, found[name]]));
    } catch {
      return {};
    }
  }

  keep() {
    try {
      const changed = Object.entries(this.values).filter(([name, it]) => it !== DEFAULTS[name]);
      if (changed.length) this.storage?.setItem(KEPT_AS, JSON.stringify(Object.fromEntries(changed)));
      else this.storage?.removeItem(KEPT_AS);
    } catch {
      // The storage is full or forbidden: then the settings last as long as the page.
    }
  }
}

function fits(usual, value) {
  if (usual === null) return typeof value === "number" && value >= 0 && value <= 2;
  return typeof value === typeof usual;
}

function browserStorage() {
  try {
    return window.localStorage;
  } catch {
    return null;
  }
}
