/** What the header and the timeline's foot say: the state, what the model does, the figures. */

const STATES = {
  connecting: "Connecting",
  live: "Live",
  reconnecting: "Reconnecting",
  full: "Server full",
  paused: "Paused",
  error: "Stopped",
};
const RECENT = 20; // steps that the median of the step time is taken over
const HELD = 3; // steps that the word for what the model does outlasts it, so that it can be read

const by = (id) => document.getElementById(id);

export class Status {
  activity = ""; // what the model does, in a word
  quiet = 0; // steps since then
  hears = ""; // a word for the person's side: "Listening", "Hold to talk"
  state = "connecting";
  recent = []; // milliseconds of the last steps
  countdown = 0;

  /** @param {number} seconds until the next attempt by itself, or 0 */
  connection(name, seconds) {
    this.state = name;
    clearInterval(this.countdown);
    const until = performance.now() + 1000 * seconds;
    const label = () => { // in the button, for screen readers would read a status every second
      const left = Math.ceil((until - performance.now()) / 1000);
      const wish = name === "paused" ? "Continue" : "Try again";
      by("retry").textContent = left > 1 ? `${wish} (${left} s)` : `${wish} now`;
    };
    label();
    if (seconds > 1) this.countdown = setInterval(label, 1000);
    by("state-text").textContent = STATES[name];
    document.body.dataset.state = name;
    by("retry").hidden = !seconds && !["paused", "error"].includes(name);
    by("notice-close").hidden = name !== "live"; // a lost connection is not waved away
    if (name !== "live") this.activity = "";
    if (name === "live") this.recent = [];
    this.show();
  }

  /** @param {number} answer milliseconds of the last answer to speech, or undefined */
  step({ speaking, counts, skipped, milliseconds }, hushed, answer) {
    const words = [[speaking && !hushed, "Speaking"], [counts.image_out, "Drawing"],
      [counts.text_out, "Writing"]];
    const doing = words.find(([does]) => does)?.[1] ?? "";
    this.quiet = doing ? 0 : this.quiet + 1;
    if (doing || hushed || this.quiet > HELD) this.activity = doing;
    this.show();
    this.recent = [...this.recent, milliseconds].slice(-RECENT);
    const late = skipped ? ` · ${skipped} ${skipped === 1 ? "step" : "steps"} late` : "";
    const delay = answer === undefined ? "" : ` · answered in ${(answer / 1000).toFixed(1)} s`;
    by("figures").textContent = `${Math.round(this.milliseconds)} ms a step${late}${delay}`;
    by("figures").classList.toggle("late", skipped > 0);
  }

  /** Median of the recent steps. */
  get milliseconds() {
    return [...this.recent].sort((a, b) => a - b)[this.recent.length >> 1] ?? 0;
  }

  /** Only to be seen: a screen reader would say it over the speech. */
  show() {
    const shown = this.activity || (this.state === "live" ? this.hears : "");
    if (by("activity").textContent === shown) return;
    by("activity").textContent = shown;
    by("state-text").classList.toggle("for-readers", Boolean(shown));
    document.body.dataset.activity = this.activity.toLowerCase();
  }
}
