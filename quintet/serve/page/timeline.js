/**
 * The five streams, drawn as they fill: one column a step, the newest at the right edge.
 *
 * Text and pictures are bars as high as the share of the step's rows that they took; sound is as
 * high as it is loud. Behind the outputs hangs a shade as deep as their head's probability of
 * `No Output`: where it lifts, the model wants to say something.
 */

import { explain, silence } from "./explain.js";

const COLUMN = 12; // pixels of one step
const GAP = 2;
const REMEMBERED = 400; // steps: wider than any screen
const LANES = ["text_in", "image_in", "audio_in", "text_image_out", "audio_out"];
const INPUTS = 3; // of the lanes: a stronger line stands between what comes and what goes
const NOW = 22; // pixels of the word at the right edge
const COLOURS = ["text-in", "image-in", "audio-in", "text-out", "image-out", "audio-out",
  "rule", "faint", "silence", "silence-line", "warning", "accent"];

export class Timeline {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {HTMLElement} sentence that explains the newest step, or the one that is looked at
   * @param {HTMLElement} chances of its silence
   */
  constructor(canvas, sentence, chances) {
    this.canvas = canvas;
    this.sentence = sentence;
    this.chances = chances;
    /** @type {{steps_per_second: number, rows: Object<string, number>}} of the hello event */
    this.clock = null;
    this.microphone = false; // whether it is on
    this.steps = [];
    this.looked = null; // the step that is looked at, or null: the newest
    this.pen = canvas.getContext("2d");
    this.draw = this.draw.bind(this);
    new ResizeObserver(() => this.soon()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.soon());
    canvas.addEventListener("pointermove", (event) => this.point(event.offsetX));
    canvas.addEventListener("pointerleave", () => this.look(null));
    canvas.addEventListener("blur", () => this.look(null));
    canvas.addEventListener("keydown", (event) => this.key(event));
  }

  /**
   * @param {object} step the step event, with `seen` and `drawn` (pictures to show, or null),
   *     `loudness` (RMS of its speech, 0 to 1), `interrupted` (the person talked over the speech
   *     here) and `hushed` (its speech is not played)
   */
  add(step) {
    this.steps.push(step);
    if (this.steps.length > REMEMBERED && this.steps.shift() === this.looked) this.looked = null;
    this.soon();
  }

  clear() {
    this.steps = [];
    this.looked = null;
    this.soon();
  }

  /** What comes next belongs to another conversation. */
  breakOff() {
    if (this.steps.length && !this.steps.at(-1).gap) this.add({ gap: true });
  }

  // ---- looking at a step

  look(step) {
    if (step === this.looked) return;
    this.looked = step;
    this.soon();
  }

  point(x) {
    const back = Math.floor((this.canvas.clientWidth - x) / COLUMN);
    this.look(this.steps[this.steps.length - 1 - back] ?? null);
  }

  key(event) {
    const moves = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageUp: 4,
      PageDown: -4, Home: -REMEMBERED, End: REMEMBERED };
    const last = this.steps.length - 1;
    if (!(event.key in moves) || last < 0) return;
    event.preventDefault();
    const at = this.looked ? this.steps.indexOf(this.looked) : last;
    const index = Math.max(0, Math.min(last, at + moves[event.key]));
    this.look(index === last ? null : this.steps[index]);
  }

  /** Draw before the next frame; many calls, one drawing. */
  soon() {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(this.draw);
  }

  draw() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const scale = devicePixelRatio || 1;
    this.canvas.width = Math.round(width * scale);
    this.canvas.height = Math.round(height * scale);
    this.pen.scale(scale, scale);
    this.colours = readColours(this.canvas);
    this.axis = 14; // pixels under the lanes, for the seconds
    this.lane = (height - this.axis) / LANES.length;
    const shown = this.steps.slice(-Math.ceil(width / COLUMN));
    const x = (i) => width - (shown.length - i) * COLUMN;
    shown.forEach((step, i) => step.gap || this.shade(step, x(i)));
    this.drawGround(width, height);
    shown.forEach((step, i) => (step.gap ? this.drawGap(x(i)) : this.drawStep(step, x(i))));
    shown.forEach((step, i) => step.gap || this.drawPictures(step, x(i)));
    shown.forEach((step, i) => step.interrupted && this.drawInterruption(x(i)));
    const looked = shown.indexOf(this.looked);
    if (looked >= 0) this.frameColumn(x(looked), height);
    this.describe();
  }

  drawGround(width, height) {
    for (let i = 1; i <= LANES.length; i++) {
      this.pen.fillStyle = i === INPUTS ? this.colours.faint : this.colours.rule;
      this.pen.fillRect(0, Math.round(i * this.lane) - 1, width, 1);
    }
    this.pen.font = "10px system-ui, sans-serif";
    const last = this.steps.at(-1)?.step;
    if (!last) return;
    this.pen.fillStyle = this.colours.faint;
    this.pen.fillText("now", width - NOW, height - 3);
    const every = this.clock.steps_per_second;
    for (let step = last - (last % every); step > 0; step -= every) {
      const x = width - (last - step) * COLUMN - COLUMN;
      if (x < 0) break;
      this.pen.fillStyle = this.colours.rule;
      this.pen.fillRect(x, 0, 1, height - this.axis);
      if ((step / every) % 5 || x > width - 2 * NOW) continue;
      this.pen.fillStyle = this.colours.faint;
      this.pen.fillText(`${step / every} s`, x + 3, height - 3);
    }
  }

  drawStep(step, x) {
    const { rows } = this.clock;
    const { counts } = step;
    this.bar(0, x, counts.text_in / rows.text_in, "text-in");
    if (!step.seen) this.bar(1, x, counts.image_in / rows.image_in, "image-in");
    this.wave(2, x, step.input_level, "audio-in");
    const words = this.bar(3, x, counts.text_out / rows.text_out, "text-out");
    this.bar(3, x, counts.image_out / rows.image_out, "image-out", words);
    if (step.speaking) this.wave(4, x, step.loudness, "audio-out", step.hushed);
  }

  /** How likely each head found silence: it hangs from the lane's top. */
  shade(step, x) {
    step.no_output.forEach((silence, head) => {
      const top = (INPUTS + head) * this.lane;
      const depth = silence * (this.lane - 1);
      this.pen.fillStyle = this.colours.silence;
      this.pen.fillRect(x, top, COLUMN, depth);
      this.pen.fillStyle = this.colours["silence-line"];
      if (depth > 1) this.pen.fillRect(x, top + depth - 1.5, COLUMN, 1.5);
    });
  }

  /** A bar on the lane's ground, over `under` pixels; the square root keeps few rows visible. */
  bar(lane, x, share, colour, under = 0) {
    if (!share) return under;
    const room = this.lane - 4;
    const height = Math.max(3, Math.min(1, Math.sqrt(share)) * room * (under ? 0.6 : 1));
    const bottom = (lane + 1) * this.lane - 1 - under;
    this.pen.fillStyle = this.colours[colour];
    this.pen.fillRect(x + GAP / 2, Math.max(lane * this.lane + 2, bottom - height),
      COLUMN - GAP, Math.min(height, bottom - lane * this.lane - 2));
    return height;
  }

  /**
   * A bar around the lane's middle; speech of a usual loudness (RMS 0.1) fills about half. What
   * nobody hears is only an outline.
   */
  wave(lane, x, loudness, colour, hollow = false) {
    const height = Math.max(2, Math.min(1, Math.sqrt(2.5 * loudness)) * (this.lane - 6));
    const top = (lane + 0.5) * this.lane - height / 2;
    this.pen.fillStyle = this.pen.strokeStyle = this.colours[colour];
    this.pen.beginPath();
    if (hollow) this.pen.roundRect(x + GAP, top + 0.5, COLUMN - 2 * GAP, height, 2);
    else this.pen.roundRect(x + GAP / 2, top, COLUMN - GAP, height, 2);
    if (hollow) this.pen.stroke();
    else this.pen.fill();
  }

  drawInterruption(x) {
    this.pen.fillStyle = this.colours.warning;
    this.pen.fillRect(x, 2 * this.lane, 2, 3 * this.lane);
    this.pen.font = "600 10px system-ui, sans-serif";
    this.pen.fillText("interrupted", x + 5, INPUTS * this.lane + 11);
  }

  drawGap(x) {
    this.pen.fillStyle = this.colours.faint;
    for (let y = 0; y < LANES.length * this.lane; y += 6) this.pen.fillRect(x + COLUMN / 2, y, 1, 3);
  }

  frameColumn(x, height) {
    this.pen.strokeStyle = this.colours.accent;
    this.pen.lineWidth = 1.5;
    this.pen.strokeRect(x + 0.5, 1, COLUMN - 1, height - this.axis - 2);
  }

  /** Small copies of the pictures, over the steps that follow, so they are drawn last. */
  drawPictures(step, x) {
    const side = this.lane - 4;
    for (const [lane, picture] of [[1, step.seen], [3, step.drawn]]) {
      if (!picture?.complete || !picture.naturalWidth) continue;
      this.pen.drawImage(picture, x, lane * this.lane + 2, side, side);
    }
  }

  describe() {
    const last = this.steps.length - 1;
    const index = this.looked ? this.steps.indexOf(this.looked) : last;
    const step = this.steps[index];
    const when = this.looked && step.step ? `At ${this.seconds(step)} s. ` : "";
    const words = when + explain(this.steps, index, this.microphone);
    const chances = silence(step);
    if (this.sentence.textContent !== words) this.sentence.textContent = words;
    if (this.chances.textContent !== chances) this.chances.textContent = chances;
    this.canvas.setAttribute("aria-valuemax", String(Math.max(0, last)));
    this.canvas.setAttribute("aria-valuenow", String(Math.max(0, index)));
    // While it runs, the sentence would be read anew four times a second.
    const told = this.looked ? `${words} No Output: ${chances}` : "The newest step; arrow keys look at earlier ones";
    if (this.canvas.ariaValueText !== told) this.canvas.setAttribute("aria-valuetext", told);
  }

  seconds({ step }) {
    return (step / this.clock.steps_per_second).toFixed(2);
  }
}

function readColours(element) {
  const style = getComputedStyle(element);
  return Object.fromEntries(
    COLOURS.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]),
  );
}
