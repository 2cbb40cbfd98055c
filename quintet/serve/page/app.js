/**
 * The page: wires the connection, the microphone, the pictures and the conversation together.
 *
 * The server says hello with its clock and sizes; from then on it sends a step four times a
 * second, and the page sends sound all the time, and texts and pictures when there are some.
 */

import { Camera } from "./camera.js";
import { Conversation } from "./conversation.js";
import { Microphone } from "./microphone.js";
import { Notice } from "./notice.js";
import { fromFile, sample, SAMPLES } from "./pictures.js";
import { Player } from "./player.js";
import { LiveSocket } from "./socket.js";
import { Timeline } from "./timeline.js";

const PHRASES = [ // as the model learned them
  "hello.", "draw an apple.", "say banana.", "count to five.", "what is this?",
  "repeat after me: the red car.",
];
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
const BLINK = 2000; // milliseconds that a camera's frame is sent again before it is forgotten

const by = (id) => document.getElementById(id);

/** What tests and curious people may look at. */
const state = (window.quintet = {
  state: "connecting",
  detail: "",
  steps: 0,
  text: "", // every word that the model wrote
  pictures: 0, // that the model completed
  samplesHeard: 0, // of speech that came
  samplesSent: 0,
  milliseconds: 0, // median of the recent steps
  skipped: 0, // steps that the server left out because it was late
  get secondsPlayed() {
    return parts.player?.secondsPlayed ?? 0;
  },
});

/** Made at the first hello, which brings the sample rate and the clock. */
const parts = { player: null, microphone: null };

const timeline = new Timeline(by("streams"));
const notice = new Notice(by("notice"), by("notice-text"), by("past-notice"));
const conversation = new Conversation(by("conversation"), by("announcement"));
const socket = new LiveSocket(liveAddress(), liveProtocols(), {
  state: showState,
  event: take,
  sound: hear,
});
const camera = new Camera(by("camera-view"), sendPicture, () => {
  showCamera();
  notify("The camera went away.");
});
const recent = []; // milliseconds of the last steps
let pendingStep = null; // a step whose sound comes in the next frame
let seen = null; // the last picture that went out, until a step has taken it
let drawing = null; // the image event of the step that comes next
let countdown = 0;
let activity = ""; // what the model does, in a word
let quiet = 0; // steps since then

/** A server with keys is opened with one in the address, after #key=: no request carries that. */
function liveProtocols() {
  const key = location.hash.startsWith("#key=") ? decodeURIComponent(location.hash.slice(5)) : "";
  return key ? ["realtime", `openai-insecure-api-key.${key}`] : [];
}

function liveAddress() {
  const address = new URL("live", location.href);
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  return address.href;
}

// ---- the connection

function showState(name, detail, seconds) {
  clearInterval(countdown);
  const until = performance.now() + 1000 * seconds;
  const label = () => { // in the button, for screen readers would read a status every second
    const left = Math.ceil((until - performance.now()) / 1000);
    const wish = name === "paused" ? "Continue" : "Try again";
    by("retry").textContent = left > 1 ? `${wish} (${left} s)` : wish;
  };
  label();
  by("state-text").textContent = STATES[name];
  if (seconds > 1) countdown = setInterval(label, 1000);
  if (name !== "live" && state.state === "live") {
    conversation.divide("The conversation ended here. The model remembers nothing of it.");
    parts.player?.flush();
  }
  Object.assign(state, { state: name, detail });
  document.body.dataset.state = name;
  by("retry").hidden = !seconds && !["paused", "error"].includes(name);
  by("notice-close").hidden = name !== "live"; // a lost connection is not waved away
  if (detail) notify(detail);
  else if (name === "live") notice.close();
  if (name !== "live") activity = "";
  showActivity();
  enable();
}

/** Whatever needs the server can be used only while it is there. */
function enable() {
  const { live } = socket;
  for (const control of document.querySelectorAll("#suggestions button, #reset, #picture, #send")) {
    control.disabled = !live;
  }
  by("camera").disabled = !Camera.unavailable && !live && !camera.on;
  by("sound").disabled = !parts.player;
  by("microphone").disabled = !Microphone.unavailable && !parts.microphone;
}

function take(event) {
  if (event.type === "hello") begin(event);
  else if (event.type === "step") takeStep(event);
  else if (event.type === "image") drawing = event;
  else if (event.type === "reset") forget();
  else if (event.type === "error") notify(event.message);
}

function begin(hello) {
  if (!parts.player) {
    parts.player = new Player(hello.sample_rate);
    parts.player.context.onstatechange = showSound;
    parts.microphone = new Microphone(hello.sample_rate, speak, (reason) => {
      showMicrophone();
      notify(reason);
    });
    showSound();
    requestAnimationFrame(showLevel);
  }
  timeline.clock = hello;
  timeline.clear();
  camera.memory = (1000 * hello.window_steps) / hello.steps_per_second - BLINK;
  camera.forget();
  pendingStep = seen = drawing = null; // of the connection before
  recent.length = 0;
}

function takeStep(step) {
  if (pendingStep) timeline.add(pendingStep); // its sound never came
  state.steps = step.step;
  state.text += step.text;
  state.skipped += step.skipped;
  conversation.step(step);
  step.seen = step.counts.image_in ? seen : null;
  if (step.seen) seen = null;
  step.drawn = drawing && draw(drawing);
  drawing = null;
  pendingStep = step.speaking ? { ...step, loudness: 0 } : null;
  if (!step.speaking) timeline.add(step);
  showFigures(step);
  noteActivity(step);
}

function hear(bytes) {
  const samples = new Int16Array(bytes);
  state.samplesHeard += samples.length;
  parts.player.play(bytes);
  if (!pendingStep) return;
  const energy = samples.reduce((sum, sample) => sum + (sample / 32768) ** 2, 0);
  pendingStep.loudness = Math.sqrt(energy / Math.max(1, samples.length));
  timeline.add(pendingStep);
  pendingStep = null;
}

/** The picture of the timeline, once it is complete, or null. */
function draw(event) {
  const image = conversation.drew(event);
  if (!event.done) return null;
  state.pictures += 1;
  image.addEventListener("load", () => timeline.soon(), { once: true });
  return image;
}

function forget() {
  conversation.clear();
  timeline.clear();
  parts.player.flush();
  camera.forget();
  pendingStep = seen = drawing = null;
}

function showFigures(step) {
  recent.push(step.milliseconds);
  if (recent.length > RECENT) recent.shift();
  state.milliseconds = [...recent].sort((a, b) => a - b)[recent.length >> 1];
  const late = step.skipped ? ` · ${step.skipped} steps late` : "";
  by("figures").textContent = `${Math.round(state.milliseconds)} ms a step${late}`;
  by("figures").classList.toggle("late", step.skipped > 0);
}

function noteActivity({ speaking, counts }) {
  const { image_out: draws, text_out: writes } = counts;
  const words = [[speaking, "Speaking"], [draws, "Drawing"], [writes, "Writing"]];
  const doing = words.find(([does]) => does)?.[1] ?? "";
  quiet = doing ? 0 : quiet + 1;
  if (doing || quiet > HELD) activity = doing;
  showActivity();
}

/** Only to be seen: a screen reader would say it over the speech. */
function showActivity() {
  const listening = state.state === "live" && parts.microphone?.on ? "Listening" : "";
  const shown = activity || listening;
  if (by("activity").textContent === shown) return;
  by("activity").textContent = shown;
  by("state-text").classList.toggle("for-readers", Boolean(shown));
  document.body.dataset.activity = activity.toLowerCase();
}

// ---- what the person gives

function say(text) {
  if (!text.trim() || !socket.send({ type: "text", text })) return false;
  conversation.typed(text);
  return true;
}

function speak(samples, level) {
  const height = level && Math.min(1, 3 * Math.sqrt(level));
  by("microphone").style.setProperty("--level", height.toFixed(2));
  socket.sendSound(samples);
  if (socket.live) state.samplesSent += samples.byteLength / 2;
}

function sendPicture(url) {
  if (!socket.send({ type: "image", data: url })) return false;
  seen = new Image();
  seen.src = url;
  return true;
}

function show(url, name = "") {
  if (sendPicture(url)) conversation.showed(url, name);
}

async function showFile(file) {
  try {
    show(await fromFile(file));
  } catch (error) {
    notify(error.message);
  }
}

// ---- what the page shows

/** What is said about a lost connection stays as long as it is lost. */
function notify(sentence) {
  notice.show(sentence, state.state !== "live");
}

function showMicrophone() {
  showSwitch("microphone", Boolean(parts.microphone?.on), Microphone.unavailable);
  showActivity();
}

/** A device that cannot be had is not disabled: a touch must be able to ask why. */
function showSwitch(name, on, unavailable) {
  by(name).setAttribute("aria-pressed", String(on));
  by(name).setAttribute("aria-disabled", String(Boolean(unavailable)));
  by(name).title = unavailable || `Switch the ${name} ${on ? "off" : "on"}`;
}

function showCamera() {
  showSwitch("camera", camera.on, Camera.unavailable);
  by("viewfinder").hidden = !camera.on;
  enable();
}

function showSound() {
  const { blocked, muted } = parts.player;
  by("start").hidden = !blocked || muted;
  by("sound").setAttribute("aria-pressed", String(!muted));
  by("sound").title = muted ? "Let the speech be heard" : "Silence the speech";
  by("sound").querySelector("use").setAttribute("href", muted ? "#icon-muted" : "#icon-sound");
}

function showLevel() {
  const level = Math.min(1, 2 * Math.sqrt(parts.player.level()));
  by("voice-meter").style.setProperty("--level", level.toFixed(2));
  requestAnimationFrame(showLevel);
}

// ---- controls

function wireControls() {
  by("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    if (say(by("message").value)) by("message").value = "";
  });
  by("microphone").addEventListener("click", () => {
    toggle(parts.microphone, Microphone.unavailable, showMicrophone);
  });
  by("camera").addEventListener("click", () => toggle(camera, Camera.unavailable, showCamera));
  by("picture").addEventListener("click", () => by("file").click());
  by("file").addEventListener("change", () => {
    if (by("file").files.length) showFile(by("file").files[0]);
    by("file").value = "";
  });
  by("reset").addEventListener("click", () => {
    socket.send({ type: "reset" });
    by("message").focus();
  });
  by("retry").addEventListener("click", () => socket.connect());
  by("notice-close").addEventListener("click", () => notice.close());
  by("start").addEventListener("click", () => parts.player.resume());
  by("sound").addEventListener("click", () => {
    parts.player?.mute(!parts.player.muted);
    if (parts.player) showSound();
  });
  // Any click or key is the gesture that browsers want before they play sound.
  for (const kind of ["pointerup", "keydown"]) {
    document.addEventListener(kind, () => parts.player?.blocked && parts.player.resume());
  }
}

async function toggle(device, unavailable, show) {
  if (unavailable) notify(unavailable);
  if (unavailable || device.starting) return;
  try {
    if (device.on) device.stop();
    else await device.start();
  } catch (error) {
    notify(error.message);
  }
  show();
}

function wireDropAndPaste() {
  const page = document.documentElement;
  const dragged = (event) => event.dataTransfer?.types.includes("Files");
  page.addEventListener("dragover", (event) => {
    if (!dragged(event)) return;
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  page.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.body.classList.remove("dropping");
  });
  page.addEventListener("drop", (event) => {
    if (!dragged(event)) return;
    event.preventDefault();
    document.body.classList.remove("dropping");
    if (event.dataTransfer.files.length) showFile(event.dataTransfer.files[0]);
  });
  document.addEventListener("paste", (event) => {
    const file = [...event.clipboardData.files].find(({ type }) => type.startsWith("image/"));
    if (file) showFile(file);
  });
}

function offerSuggestions() {
  for (const phrase of PHRASES) {
    const button = suggestion(by("phrases"), () => say(phrase));
    button.textContent = phrase;
  }
  for (const [emoji, name, background] of SAMPLES) {
    const url = sample(emoji, background);
    if (!url) continue; // without emoji there is nothing to show
    const button = suggestion(by("samples"), () => {
      show(url, name);
      say("what is this?");
    });
    button.title = `Show ${name} and ask what it is`;
    const image = new Image(36, 36);
    image.src = url;
    image.alt = button.title;
    button.append(image);
    by("samples").hidden = false;
  }
}

function suggestion(group, action) {
  const button = document.createElement("button");
  button.type = "button";
  button.disabled = true;
  button.addEventListener("click", action);
  group.append(button);
  return button;
}

wireControls();
wireDropAndPaste();
offerSuggestions();
showMicrophone();
showCamera();
socket.connect();
