/** The dialog in which the settings are made. Every change holds at once. */

import { devicesOf } from "./devices.js";

const by = (id) => document.getElementById(id);
const CHECKS = { "push-to-talk": "pushToTalk", "barge-in": "bargeIn", captions: "captions",
  transcripts: "transcripts" };
const SLIDERS = {
  "text-temperature": "textTemperature",
  "audio-temperature": "audioTemperature",
  "image-temperature": "imageTemperature",
};
const CHOICES = { "microphone-choice": ["microphone", "audioinput"],
  "camera-choice": ["camera", "videoinput"] };

export class SettingsDialog {
  /** @param {import("./settings.js").Settings} settings */
  constructor(settings) {
    this.settings = settings;
    /** The server's own temperatures: of the hello event. */
    this.sampling = {};
    this.dialog = by("settings");
    by("settings-open").addEventListener("click", () => this.open());
    by("settings-close").addEventListener("click", () => this.dialog.close());
    by("settings-reset").addEventListener("click", () => {
      settings.reset();
      this.show();
    });
    this.dialog.addEventListener("click", (event) => { // beside it
      if (event.target === this.dialog) this.dialog.close();
    });
    this.wire();
    navigator.mediaDevices?.addEventListener?.("devicechange", () => this.listDevices());
  }

  wire() {
    for (const [id, name] of Object.entries(CHECKS)) {
      by(id).addEventListener("change", () => this.settings.set(name, by(id).checked));
    }
    for (const [id, name] of Object.entries(SLIDERS)) {
      by(id).addEventListener("input", () => {
        const chosen = Number(by(id).value);
        this.settings.set(name, chosen === this.usual(name) ? null : chosen);
        this.showSlider(id, name);
      });
    }
    for (const [id, [name]] of Object.entries(CHOICES)) {
      by(id).addEventListener("change", () => this.settings.set(name, by(id).value));
    }
  }

  open() {
    this.show();
    this.dialog.showModal();
  }

  show() {
    for (const [id, name] of Object.entries(CHECKS)) by(id).checked = this.settings.get(name);
    for (const [id, name] of Object.entries(SLIDERS)) this.showSlider(id, name);
    this.listDevices();
  }

  /** The server's temperature for a setting. */
  usual(name) {
    return this.sampling[name.replace("Temperature", "_temperature")] ?? 0;
  }

  showSlider(id, name) {
    const value = this.settings.get(name) ?? this.usual(name);
    by(id).value = value;
    const word = value === 0 ? "0" : value.toFixed(1);
    by(`${id}-value`).textContent = this.settings.get(name) === null ? `${word} (usual)` : word;
    by(id).setAttribute("aria-valuetext", by(`${id}-value`).textContent);
  }

  async listDevices() {
    const found = await devicesOf(Object.values(CHOICES).map(([, kind]) => kind));
    for (const [id, [name, kind]] of Object.entries(CHOICES)) {
      const options = [new Option("As the browser chooses", "")];
      for (const { deviceId, label } of found[kind]) options.push(new Option(label, deviceId));
      by(id).replaceChildren(...options);
      by(id).value = this.settings.get(name);
      if (by(id).selectedIndex < 0) by(id).value = ""; // it is not plugged in now
      by(`${id}-hint`).hidden = found[kind].length > 0;
    }
  }
}
