/**
 * The page: wires the connection, the microphone, the pictures and the conversation together.
 *
 * The server says hello with its clock and sizes, and from then on sends a step four times a second;
 * the page sends sound all the time, and texts and pictures when there are some.
 */

import { Camera } from "./camera.js";
import { Conversation } from "./conversation.js";
import { takeDropsAndPastes } from "./drop.js";
import { Microphone } from "./microphone.js";
import { Notice } from "./notice.js";
import { fromFile } from "./pictures.js";
import { Player } from "./player.js";
import { Settings } from "./settings.js";
import { SettingsDialog } from "./settings_dialog.js";
import { LiveSocket, liveAddress, liveProtocols } from "./socket.js";
import { Speech } from "./speech.js";
import { Status } from "./status.js";
import { Suggestions } from "./suggestions.js";
import { setMeter, showSwitch, toggle } from "./switches.js";
import { TalkButton } from "./talk_button.js";
import { Timeline } from "./timeline.js";
import { Transcripts } from "./transcripts.js";
import { Voice } from "./voice.js";
import { VoiceChoice } from "./voice_choice.js";

const BLINK = 2000; // milliseconds that a camera's frame is sent again before it is forgotten
const LET_GO = 30_000; // milliseconds after a push to talk until the microphone is let go

const by = (id) => document.getElementById(id);

/** What tests, benchmarks and curious people may look at. */
const state = (window.quintet = {
  state: "connecting",
  detail: "",
  steps: 0,
  text: "", // every word that the model wrote
  pictures: 0, // that the model completed
  samplesHeard: 0, // of speech that came
  samplesSent: 0,
  skipped: 0, // steps that the server left out because it was late
  get milliseconds() { return status.milliseconds; }, // median of the recent steps
  get secondsPlayed() { return parts.player?.secondsPlayed ?? 0; },
  get underruns() { return parts.player?.underruns ?? 0; },
  get glitches() { return parts.player?.glitches ?? NaN; },
  get answers() { return parts.speech?.answers ?? []; },
  get tooEarly() { return parts.speech?.tooEarly ?? 0; },
  get stops() { return parts.speech?.stops ?? []; },
});

/** Made at the first hello, which brings the sample rate and the clock. */
const parts = { player: null, microphone: null, speech: null };

const voice = new Voice();
const status = new Status();
const settings = new Settings(applySetting);
const dialog = new SettingsDialog(settings);
const timeline = new Timeline(by("streams"), by("explanation"), by("silence"));
const notice = new Notice(by("notice"), by("notice-text"), by("past-notice"));
const conversation = new Conversation(by("conversation"), by("announcement"));
const talkButton = new TalkButton(by("microphone"), () => settings.get("pushToTalk"), talk);
const socket = new LiveSocket(liveAddress(), liveProtocols(), {
  state: showState,
  event: take,
  sound: hear,
});
const voiceChoice = new VoiceChoice(socket, settings);
const camera = new Camera(by("camera-view"), sendPicture, () => {
  showCamera();
  notify(`The ${camera.source} went away.`);
});
const transcripts = new Transcripts(socket, conversation);
let pendingStep = null; // a step whose sound comes in the next frame
let seen = null; // the last picture that went out, until a step has taken it
let drawing = null; // the image event of the step that comes next
let interrupted = false; // since the last step
let lettingGo = 0; // timer

// ---- the connection

function showState(name, detail, seconds) {
  if (name !== "live" && state.state === "live") {
    if (pendingStep) showStep(); // its sound was still to come
    conversation.divide("The conversation ended here. The model remembers nothing of it.");
    parts.speech?.clear();
    transcripts.clear();
    timeline.breakOff();
  }
  Object.assign(state, { state: name, detail });
  status.connection(name, seconds);
  if (detail) notify(detail);
  else if (name === "live") notice.close();
  enable();
}

/** Whatever needs the server can be used only while it is there. */
function enable() {
  const { live } = socket;
  for (const control of document.querySelectorAll("#offers button, #reset, #picture, #send")) {
    control.disabled = !live;
  }
  by("camera").disabled = !Camera.unavailable && !live && !camera.on;
  by("screen").disabled = !live && !camera.on;
  by("sound").disabled = !parts.player;
  by("microphone").disabled = !Microphone.unavailable && !parts.microphone;
}

function take(event) {
  if (event.type === "hello") begin(event);
  else if (event.type === "step") takeStep(event);
  else if (event.type === "image") drawing = event;
  else if (event.type === "transcript") transcripts.take(event);
  else if (event.type === "reset") voiceChoice.began() && forget();
  else if (event.type === "error") notify(event.message);
}

function begin(hello) {
  if (!parts.player) makeParts(hello.sample_rate);
  parts.player.arrivals.clear();
  timeline.clock = hello;
  dialog.sampling = hello.sampling ?? {};
  voiceChoice.begin(hello.voices ?? []);
  conversation.memory = hello.window_steps / hello.steps_per_second;
  camera.memory = (1000 * hello.window_steps) / hello.steps_per_second - BLINK;
  camera.forget();
  [pendingStep, seen, drawing, interrupted] = [null, null, null, false]; // of the one before
  if (Object.keys(settings.sampling).length > 1) socket.send(settings.sampling);
}

function makeParts(rate) {
  parts.player = new Player(rate);
  parts.player.context.onstatechange = showSound;
  parts.speech = new Speech(parts.player, voice);
  parts.microphone = new Microphone(rate, speak, (reason) => {
    showMicrophone();
    notify(reason);
  });
  parts.microphone.deviceId = settings.get("microphone");
  showMicrophone();
  showSound();
  requestAnimationFrame(showLevel);
}

/** What a step says is shown once its sound is with the player, which cannot wait for that. */
function takeStep(step) {
  if (pendingStep) showStep(); // its sound never came
  parts.player.arrivals.step((1000 * (1 + step.skipped)) / timeline.clock.steps_per_second);
  parts.speech.step(step);
  const hushed = step.speaking && parts.speech.hushed;
  pendingStep = Object.assign(step, { drawing, interrupted, hushed, loudness: 0 });
  [step.seen, seen] = step.counts.image_in ? [seen, null] : [null, seen];
  [drawing, interrupted] = [null, false];
  if (!step.speaking) showStep();
}

function hear(bytes) {
  parts.speech.hear(bytes);
  const samples = new Int16Array(bytes);
  state.samplesHeard += samples.length;
  if (!pendingStep) return;
  const energy = samples.reduce((sum, sample) => sum + (sample / 32768) ** 2, 0);
  pendingStep.loudness = Math.sqrt(energy / Math.max(1, samples.length));
  showStep();
}

function showStep() {
  const step = pendingStep;
  pendingStep = null;
  state.steps = step.step;
  state.text += step.text;
  state.skipped += step.skipped;
  conversation.step(step);
  step.drawn = step.drawing && draw(step.drawing);
  timeline.add(step);
  status.step(step, step.hushed, state.answers.at(-1)?.delay);
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
  transcripts.clear();
  timeline.clear();
  parts.speech.clear();
  camera.forget();
  [pendingStep, seen, drawing, interrupted] = [null, null, null, false];
}

// ---- what the person gives

function say(text) {
  if (!text.trim() || !socket.send({ type: "text", text })) return false;
  conversation.typed(text);
  return true;
}

function speak(samples, level) {
  const now = performance.now();
  setMeter("microphone-meter", Math.min(1, 3 * Math.sqrt(level)));
  const turn = voice.take(level, now);
  if (turn === "began") {
    if (settings.get("bargeIn")) interrupt(voice.began);
    conversation.speaks();
  } else if (turn === "ended") endVoice();
  socket.sendSound(samples);
  if (socket.live) state.samplesSent += samples.byteLength / 2;
}

function endVoice() {
  parts.speech.voiceEnded();
  transcripts.voiceEnded(voice, settings.get("transcripts"));
}

/** Stop the speech that is heard. @param {number} since as of `performance.now()` */
function interrupt(since) {
  if (pendingStep) showStep();
  if (!parts.speech?.interrupt(since)) return;
  interrupted = true;
  conversation.interrupted();
}

/** A push to talk begins or ends. */
async function talk(talking) {
  const { microphone } = parts;
  clearTimeout(lettingGo);
  if (talking) {
    interrupt(performance.now());
    if (!microphone?.on) await switchMicrophone();
  } else {
    lettingGo = setTimeout(() => {
      if (settings.get("pushToTalk")) microphone?.stop();
      showMicrophone();
    }, LET_GO);
  }
  showMicrophone(); // what is held now counts, however long the browser has asked
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
  const { microphone } = parts;
  const pushed = settings.get("pushToTalk");
  if (microphone) microphone.closed = pushed && !talkButton.talking;
  const hears = Boolean(microphone?.on) && !microphone.closed;
  if (!hears) {
    if (voice.speaking) endVoice();
    voice.stop();
  }
  showSwitch("microphone", hears, Microphone.unavailable);
  if (pushed && !Microphone.unavailable) by("microphone").title = "Hold to talk, or hold space";
  by("microphone-name").textContent = pushed ? "Talk" : "Microphone";
  timeline.microphone = hears;
  status.hears = hears ? "Listening" : "";
  if (microphone?.starting) status.hears = "Asking for the microphone";
  status.show();
}

function showCamera() {
  showSwitch("camera", camera.shows("camera"), Camera.unavailable);
  by("screen").setAttribute("aria-pressed", String(camera.shows("screen")));
  by("screen").title = camera.shows("screen") ? "Stop sharing the screen" : "Share the screen";
  by("camera-view").setAttribute("aria-label", `What the ${camera.source} shows the model`);
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
  setMeter("voice-meter", Math.min(1, 2 * Math.sqrt(parts.player.level())));
  requestAnimationFrame(showLevel);
}

function applySetting(name) {
  if (name.endsWith("Temperature")) socket.send(settings.sampling);
  if (name === "voice") voiceChoice.choose();
  if (name === "captions") showCaptions();
  if (name === "pushToTalk") {
    talkButton.end();
    parts.microphone?.stop();
  }
  const device = { microphone: parts.microphone, camera }[name];
  if (device) restart(device, settings.get(name));
  showMicrophone();
}

function showCaptions() {
  conversation.captions = settings.get("captions");
  document.body.classList.toggle("no-captions", !conversation.captions);
}

/** Another device was chosen; one that is on changes at once. */
async function restart(device, id) {
  device.deviceId = id;
  if (!device.on || device.source === "screen") return;
  device.stop();
  if (device === camera) await lookThrough("camera", Camera.unavailable);
  else await switchMicrophone();
}

// ---- controls

function wireControls() {
  by("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    if (say(by("message").value)) by("message").value = "";
  });
  by("microphone").addEventListener("click", () => {
    if (settings.get("pushToTalk") && !Microphone.unavailable) return;
    switchMicrophone();
  });
  by("camera").addEventListener("click", () => lookThrough("camera", Camera.unavailable));
  by("screen").addEventListener("click", () => lookThrough("screen", Camera.noScreen));
  by("screen").hidden = Boolean(Camera.noScreen);
  by("picture").addEventListener("click", () => by("file").click());
  by("file").addEventListener("change", () => {
    if (by("file").files.length) showFile(by("file").files[0]);
    by("file").value = "";
  });
  by("reset").addEventListener("click", () => {
    voiceChoice.reset();
    by("message").focus();
  });
  by("retry").addEventListener("click", () => socket.connect());
  by("notice-close").addEventListener("click", () => notice.close());
  by("start").addEventListener("click", () => parts.player.resume());
  by("sound").addEventListener("click", () => {
    parts.player?.mute(!parts.player.muted);
    if (parts.player) showSound();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !by("settings").open) interrupt(performance.now());
  });
  // Any click or key is the gesture that browsers want before they play sound.
  for (const kind of ["pointerup", "keydown"]) {
    document.addEventListener(kind, () => parts.player?.blocked && parts.player.resume());
  }
}

/** The camera or the screen: one of them at a time. */
async function lookThrough(source, unavailable) {
  if (camera.on && camera.source !== source) camera.stop();
  if (!camera.starting) camera.source = source;
  await toggle(camera, unavailable, showCamera, notify);
}

async function switchMicrophone() {
  await toggle(parts.microphone, Microphone.unavailable, showMicrophone, notify);
}

wireControls();
takeDropsAndPastes(showFile);
new Suggestions(by("samples"), by("phrases"), by("more"), say, (url, name) => {
  show(url, name);
  say("what is this?");
});
camera.deviceId = settings.get("camera");
showCaptions();
showMicrophone();
showCamera();
socket.connect();
