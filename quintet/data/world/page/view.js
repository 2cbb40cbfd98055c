"use strict";
// One scene: lanes, a player, and what each row sees. Texts are set as text, never as markup.

const data = JSON.parse(document.getElementById("data").textContent);
const rows = data.rows, count = rows.stream.length;
const byId = (id) => document.getElementById(id);
const lanes = byId("lanes"), track = byId("track"), cursor = byId("cursor"), sound = byId("sound");
const LEAST = 110, MOST = 2400;  // pixels a second: words must stay legible; rows need room
const SVG = "http://www.w3.org/2000/svg";
const LINE = 19;  // pixels of height of a line of words
const labels = new Map(data.lanes.map((lane) => [lane.stream, lane.label]));
const order = [];  // rows in live order
rows.rank.forEach((rank, row) => { order[rank] = row; });
let scale = LEAST, chosen = -1;

function make(tag, classes = "", text = "") {
  const element = document.createElement(tag);
  if (classes) element.className = classes;
  element.textContent = text;
  return element;
}

function shape(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

const stretched = (classes, width, height) => shape("svg", {
  class: classes, viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none",
  "aria-hidden": "true",
});

function wave(peaks) {
  const svg = stretched("wave", peaks.length, 200);
  const upper = peaks.map((peak, at) => `${at} ${100 - Math.max(peak, 1)}`);
  const lower = peaks.map((peak, at) => `${at} ${100 + Math.max(peak, 1)}`).reverse();
  svg.append(shape("path", { d: `M${upper.join("L")}L${lower.join("L")}Z` }));
  return svg;
}

// ---- Lanes. What has a place in time carries it as `start` and `end`, in seconds.

const placed = [];  // {element, start, end, tiers?}
const bars = [];  // of each row, its bar

function place(parent, element, start, end, more = {}) {
  parent.append(element);
  placed.push({ element, start, end, ...more });
  return element;
}

function fillSaid(content, spans, peaks) {
  content.append(wave(peaks));
  for (const span of spans) {
    place(content, make("div", `said ${span.who}`), span.start, span.end, { wide: true });
    if (span.who === "bystander") {
      place(content, make("span", "who", "somebody else"), span.start, span.end);
    }
    const words = span.words.length ? span.words : [[span.text, span.start, span.end]];
    for (const [text, start, end] of words) {
      if (!text) continue;
      const word = make("span", `word ${span.who}`, text);
      word.title = `${start.toFixed(2)}-${end.toFixed(2)} s`;
      place(content, word, start, end, { tiers: content, top: 48 });
    }
  }
}

function fillWritten(content, spans, pictures) {
  for (const picture of pictures) {
    const image = make("img");
    image.src = picture.source;
    image.alt = image.title = picture.title;
    place(content, image, picture.start, picture.start + picture.seconds,
      { tiers: content, top: spans.length ? 24 : 2, high: 70, picture: true });
  }
  for (const span of spans) {
    const text = span.text || "(nothing)";
    place(content, make("span", "written", text), span.start, span.end,
      { tiers: content, top: 2 });
  }
}

function rowBars(stream) {
  const svg = stretched("rows", data.seconds * 1000, 14);
  for (let row = 0; row < count; row++) {
    if (rows.stream[row] !== stream) continue;
    const width = rows.seconds[row] * 1000, gap = Math.min(width * 0.12, 4);
    bars[row] = shape("rect", {
      x: rows.start[row] * 1000 + gap / 2, y: 0, width: width - gap, height: 14,
    });
    svg.append(bars[row]);
  }
  svg.addEventListener("click", (event) => {
    event.stopPropagation();
    choose(nearestRow(stream, timeAt(event)));
  });
  return svg;
}

function nearestRow(stream, time) {
  let best = -1, least = Infinity;
  for (let row = 0; row < count; row++) {
    if (rows.stream[row] !== stream) continue;
    const away = Math.abs(rows.start[row] + rows.seconds[row] / 2 - time);
    if (away < least) [best, least] = [row, away];
  }
  return best;
}

function buildLanes() {
  for (const lane of data.lanes) {
    const of = (list) => list.filter((item) => item.stream === lane.stream);
    const element = make("div", `lane s${lane.stream}`), content = make("div", "content");
    element.append(make("h3", "", lane.label), content);
    if (data.waves[lane.stream]) fillSaid(content, of(data.spans), data.waves[lane.stream]);
    else fillWritten(content, of(data.spans), of(data.pictures));
    element.append(rowBars(lane.stream));
    element.addEventListener("click", (event) => seek(timeAt(event)));
    track.append(element);
  }
  const every = data.seconds > 40 ? 5 : 1;
  for (let second = 0; second < data.seconds; second += every) {
    const mark = make("span", "", second ? `${second} s` : "0");
    mark.style.left = `${(100 * second) / data.seconds}%`;
    byId("ruler").append(mark);
  }
}

// Words that would touch stand below each other, in as few lines as do.
function layOut() {
  const width = data.seconds * scale;
  track.style.width = `${width}px`;
  track.style.setProperty("--second", `${scale}px`);
  const tiers = new Map();
  for (const { element, start, end, tiers: lane, top, high, wide, picture } of placed) {
    const room = picture ? 66 : element.offsetWidth;
    const left = lane ? Math.max(0, Math.min(start * scale, width - room - 4)) : start * scale;
    element.style.left = `${left}px`;
    if (wide) element.style.width = `${(end - start) * scale}px`;
    if (!lane) continue;
    if (!tiers.has(lane)) tiers.set(lane, { height: lane.querySelector(".wave") ? 70 : 0 });
    const used = tiers.get(lane), key = `${top}`;
    used[key] ??= [];
    let tier = used[key].findIndex((edge) => edge <= left);
    if (tier < 0) tier = used[key].push(0) - 1;
    used[key][tier] = left + room + 3;
    element.style.top = `${top + tier * (high ?? LINE)}px`;
    used.height = Math.max(used.height, top + (tier + 1) * (high ?? LINE) + 2);
  }
  for (const content of track.querySelectorAll(".content")) {
    content.style.height = `${tiers.get(content)?.height ?? (content.firstChild ? 70 : 4)}px`;
  }
  showCursor();
}

function zoom(next) {
  const time = sound.currentTime, before = time * scale - lanes.scrollLeft;
  scale = Math.min(MOST, Math.max(LEAST, next));
  layOut();
  lanes.scrollLeft = time * scale - before;
}

const fit = () => zoom(Math.max(LEAST, (lanes.clientWidth - 2) / data.seconds));

function timeAt(event) {
  const time = (event.clientX - track.getBoundingClientRect().left) / scale;
  return Math.max(0, Math.min(data.seconds, time));
}

// ---- The player: one sound with the microphone left and the assistant right.

let gains = null;  // made by the first play, which browsers want to be a person's deed

function connect() {
  if (gains || !window.AudioContext) return;
  const context = new AudioContext();
  const split = context.createChannelSplitter(2);
  context.createMediaElementSource(sound).connect(split);
  gains = [0, 1].map((channel) => {
    const gain = context.createGain();
    gain.gain.value = byId(channel ? "hear-out" : "hear-in").checked ? 1 : 0;
    split.connect(gain, channel);
    gain.connect(context.destination);
    return gain;
  });
  gains.context = context;
}

function toggle() {
  connect();
  gains?.context.resume();
  if (!sound.paused) return sound.pause();
  if (sound.ended || sound.currentTime >= data.seconds - 0.05) sound.currentTime = 0;
  return sound.play();
}

function seek(time) {
  sound.currentTime = Math.max(0, Math.min(data.seconds, time));
  showCursor();
}

function showCursor() {
  const time = Math.min(sound.currentTime, data.seconds), left = time * scale;
  cursor.style.left = `${left}px`;
  byId("clock").textContent = `${time.toFixed(2)} of ${data.seconds.toFixed(2)} s`;
  for (const { element, start, end, wide } of placed) {
    if (!wide) element.classList.toggle("now", time > 0 && start <= time && time < end);
  }
  if (sound.paused) return;
  const edge = left - lanes.scrollLeft;
  if (edge < 0 || edge > lanes.clientWidth * 0.9) lanes.scrollLeft = left - lanes.clientWidth * 0.1;
}

function run() {
  showCursor();
  if (!sound.paused) requestAnimationFrame(run);
}

// ---- Rows: what the chosen one sees.

function eachRange(row, act) {
  const ranges = data.sees[row];
  for (let at = 0; at < ranges.length; at += 2) act(ranges[at], ranges[at + 1]);
}

function choose(row) {
  chosen = row;
  lanes.classList.toggle("chosen", row >= 0);
  for (const bar of bars) bar.classList.remove("seen", "self");
  const table = byId("row-sees");
  table.replaceChildren();
  drawMask();
  byId("row-about").textContent = row < 0 ? "No row is chosen." : about(row);
  if (row < 0) return;
  const seen = new Map();
  eachRange(row, (first, end) => {
    for (let other = first; other < end; other++) {
      bars[other].classList.add("seen");
      const stream = rows.stream[other], step = rows.step[other];
      const found = seen.get(stream) ?? { number: 0, first: step, last: step };
      found.number++;
      found.first = Math.min(found.first, step);
      found.last = Math.max(found.last, step);
      seen.set(stream, found);
    }
  });
  bars[row].classList.add("self");
  const head = make("tr");
  head.append(make("th", "", "it sees"), make("th", "", "rows"), make("th", "", "of steps"));
  table.append(head);
  for (const { stream, label } of data.lanes) {
    const line = make("tr"), found = seen.get(stream), cell = make("td");
    cell.append(make("span", `dot s${stream}`), label);
    line.append(cell, make("td", "", `${found?.number ?? 0}`),
      make("td", "", found ? `${found.first} to ${found.last}` : ""));
    table.append(line);
  }
  reveal(rows.start[row]);
}

function about(row) {
  const name = rows.name[row].trim() ? `“${rows.name[row]}”` : "a space";
  const shown = rows.modality[row] === "text" ? name : rows.name[row];
  return `Row ${rows.rank[row] + 1} of ${count} in live order: ${labels.get(rows.stream[row])}, `
    + `${rows.modality[row]} ${shown}; step ${rows.step[row]} `
    + `(${(rows.step[row] / data.steps_per_second).toFixed(2)} s), `
    + `position ${rows.position[row]}.`;
}

function reveal(time) {
  const left = time * scale, shown = lanes.scrollLeft;
  if (left < shown || left > shown + lanes.clientWidth) {
    lanes.scrollLeft = left - lanes.clientWidth / 2;
  }
}

const colourOf = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// A line for each row, a column for each row it might see, in the order of the lanes.
const line = [];  // row -> its place there
for (const { stream } of data.lanes) {
  for (let row = 0; row < count; row++) if (rows.stream[row] === stream) line.push(row);
}
const lineOf = [];
line.forEach((row, at) => { lineOf[row] = at; });

function drawMask() {
  const canvas = byId("mask"), pen = canvas.getContext("2d");
  canvas.width = canvas.height = Math.max(count, 1);
  const colours = new Map(data.lanes.map(({ stream }) => [stream, colourOf(`--s${stream}`)]));
  for (let row = 0; row < count; row++) {
    pen.globalAlpha = chosen < 0 ? 0.75 : 0.3;
    if (row === chosen) pen.globalAlpha = 1;
    eachRange(row, (first, end) => {
      // A range may cross from one stream into the next, whose lane may lie elsewhere.
      for (let at = first; at < end;) {
        const stream = rows.stream[at];
        let stop = at;
        while (stop < end && rows.stream[stop] === stream) stop++;
        pen.fillStyle = row === chosen ? colourOf("--accent") : colours.get(stream);
        pen.fillRect(lineOf[at], lineOf[row], stop - at, 1);
        at = stop;
      }
    });
  }
  if (chosen < 0) return;
  pen.globalAlpha = 1;
  pen.fillStyle = colourOf("--accent");
  const thick = Math.max(1, Math.round(count / 160));
  pen.fillRect(lineOf[chosen] - 1, lineOf[chosen] - thick, thick + 1, 2 * thick);
}

function buildEvents() {
  const happened = [
    ...data.spans.filter((span) => labels.get(span.stream) !== "text + image out").map((span) => ({
      ...span, verb: { "text in": "types", "audio in": "says" }[labels.get(span.stream)] ?? "says",
    })),
    ...data.pictures.map((picture) => ({
      ...picture, text: picture.title, verb: picture.who === "assistant" ? "draws" : "shows",
    })),
  ].sort((one, other) => one.start - other.start);
  for (const { start, who, verb, text, stream } of happened) {
    const item = make("li"), button = make("button"), what = make("span");
    what.append(make("b", `s${stream}`, `${who} ${verb} `), text || "(no transcript)");
    button.append(make("time", "", `${start.toFixed(2)} s`), what);
    button.addEventListener("click", () => { seek(start); reveal(start); });
    item.append(button);
    byId("events").append(item);
  }
  if (!happened.length) byId("events").append(make("li", "", "Nobody says, types or shows anything."));
}

function press(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const step = 1 / data.steps_per_second;
  const now = Math.round(sound.currentTime / step) * step;
  const next = (by) => {
    const at = chosen < 0 ? (by > 0 ? 0 : count - 1) : rows.rank[chosen] + by;
    if (at >= 0 && at < count) choose(order[at]);
  };
  const acts = {
    " ": toggle, ArrowLeft: () => seek(now - step), ArrowRight: () => seek(now + step),
    Home: () => seek(0), End: () => seek(data.seconds), "[": () => next(-1), "]": () => next(1),
    Escape: () => choose(-1), "+": () => zoom(scale * 1.5), "=": () => zoom(scale * 1.5),
    "-": () => zoom(scale / 1.5), "0": fit,
  };
  const focused = document.activeElement?.tagName;
  if (!acts[event.key] || (event.key === " " && (focused === "BUTTON" || focused === "INPUT"))) return;
  event.preventDefault();
  acts[event.key]();
  if (event.key.startsWith("Arrow") || event.key === "Home" || event.key === "End") {
    reveal(sound.currentTime);
  }
}

byId("name").textContent = data.name;
byId("about").textContent = `${data.about} · ${data.seconds} s · ${count} rows`;
byId("mask-note").textContent = "Each line is a row, each column a row that it may see, in the "
  + `order of the lanes; the window is ${data.window_steps} steps.`;
if (data.speaker) {
  byId("speaker").querySelector("b").textContent = data.speaker.voice;
  byId("speaker").querySelector("audio").src = data.speaker.sound;
  byId("speaker").hidden = false;
}
sound.src = data.sound;
buildLanes();
buildEvents();
fit();
choose(-1);
byId("play").addEventListener("click", toggle);
byId("in").addEventListener("click", () => zoom(scale * 1.5));
byId("out").addEventListener("click", () => zoom(scale / 1.5));
byId("fit").addEventListener("click", fit);
for (const [id, channel] of [["hear-in", 0], ["hear-out", 1]]) {
  byId(id).addEventListener("change", (event) => {
    connect();
    if (gains) gains[channel].gain.value = event.target.checked ? 1 : 0;
  });
}
byId("mask").addEventListener("click", (event) => {
  const box = event.target.getBoundingClientRect();
  choose(line[Math.floor(((event.clientY - box.top) / box.height) * count)] ?? -1);
});
sound.addEventListener("play", () => { byId("play").textContent = "Pause"; run(); });
sound.addEventListener("pause", () => { byId("play").textContent = "Play"; showCursor(); });
sound.addEventListener("seeked", showCursor);
document.addEventListener("keydown", press);
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawMask);
let width = lanes.clientWidth;
window.addEventListener("resize", () => {
  if (lanes.clientWidth !== width) { width = lanes.clientWidth; fit(); }
});
