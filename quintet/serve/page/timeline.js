/**
 * The five streams, drawn as they fill: one column a step, the newest at the right edge.
 *
 * Text and pictures are bars as high as the share of the step's rows that they took; sound is as
 * high as it is loud. The thin line over an output is its head's wish to say something.
 */

const COLUMN = 12; // pixels of one step
const GAP = 2;
const WISH = 0.03; // a smaller probability would only thicken the lane's line
const REMEMBERED = 400; // steps: wider than any screen
const LANES = ["text_in", "image_in", "audio_in", "text_image_out", "audio_out"];
const INPUTS = 3; // of the lanes: a stronger line stands between what comes and what goes
const NOW = 22; // pixels of the word at the right edge
const COLOURS = ["text-in", "image-in", "audio-in", "text-out", "image-out", "audio-out"];

export class Timeline {
  /**
   * @param {HTMLCanvasElement} canvas
   */
  constructor(canvas) {
    this.canvas = canvas;
    /** @type {{steps_per_second: number, rows: Object<string, number>}} of the hello event */
    this.clock = null;
    this.steps = [];
    this.pen = canvas.getContext("2d");
    this.draw = this.draw.bind(this);
    new ResizeObserver(() => this.soon()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.soon());
  }

  /**
   * @param {object} step the step event, with `seen` and `drawn` (pictures to show, or null) and
   *     `loudness` (RMS of its speech, 0 to 1)
   */
  add(step) {
    this.steps.push(step);
    if (this.steps.length > REMEMBERED) this.steps.shift();
    this.soon();
  }

  clear() {
    this.steps = [];
    this.soon();
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
    this.drawGround(width, height);
    const fitting = Math.ceil(width / COLUMN);
    const shown = this.steps.slice(-fitting);
    shown.forEach((step, i) => this.drawStep(step, width - (shown.length - i) * COLUMN));
    shown.forEach((step, i) => this.drawPictures(step, width - (shown.length - i) * COLUMN));
    this.describe();
  }

  drawGround(width, height) {
    for (let i = 1; i <= LANES.length; i++) {
      this.pen.fillStyle = i === INPUTS ? this.colours.faint : this.colours.rule;
      this.pen.fillRect(0, Math.round(i * this.lane) - 1, width, 1);
    }
    this.pen.font = "10px system-ui, sans-serif";
    if (!this.steps.length) return;
    this.pen.fillStyle = this.colours.faint;
    this.pen.fillText("now", width - NOW, height - 3);
    const last = this.steps.at(-1).step;
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
    if (step.speaking) this.wave(4, x, step.loudness, "audio-out");
    step.no_output.forEach((silence, head) => this.wish(3 + head, x, 1 - silence));
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

  /** A bar around the lane's middle; speech of a usual loudness (RMS 0.1) fills about half. */
  wave(lane, x, loudness, colour) {
    const height = Math.max(2, Math.min(1, Math.sqrt(2.5 * loudness)) * (this.lane - 6));
    this.pen.fillStyle = this.colours[colour];
    this.pen.beginPath();
    this.pen.roundRect(x + GAP / 2, (lane + 0.5) * this.lane - height / 2, COLUMN - GAP, height, 2);
    this.pen.fill();
  }

  wish(lane, x, probability) {
    this.pen.fillStyle = this.colours.faint;
    const y = (lane + 1) * this.lane - 2 - probability * (this.lane - 4);
    if (probability > WISH) this.pen.fillRect(x, y, COLUMN, 1);
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
    const last = this.steps.at(-1);
    if (!last) return;
    const names = { text_in: "text", image_in: "a picture" };
    const taken = Object.keys(names).filter((key) => last.counts[key]).map((key) => names[key]);
    if (last.input_level > 0.01) taken.push("sound");
    const given = [last.counts.text_out && "writes", last.counts.image_out && "draws",
      last.speaking && "speaks"].filter(Boolean);
    const seconds = Math.round(last.step / this.clock.steps_per_second);
    this.canvas.setAttribute("aria-label", `After ${seconds} seconds: the model takes ` +
      `${taken.join(", ") || "silence"} and ${given.join(", ") || "is silent"}.`);
  }
}

function readColours(element) {
  const style = getComputedStyle(element);
  return Object.fromEntries(
    [...COLOURS, "rule", "faint"].map((name) => [name, style.getPropertyValue(`--${name}`)]),
  );
}
