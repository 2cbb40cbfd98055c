/**
 * The connection: one WebSocket after another, told as states.
 *
 * States: "connecting", "live", "reconnecting" (it broke or was too slow; tries again by
 * itself), "full" (no place; tries again by itself), "paused" (nothing was said for long) and
 * "error" (trying again by itself would not help). The last two wait for `connect`.
 */

const HOW = "Write #key= and the key behind the page's address, and load it anew.";
const NO_KEY = `This server asks for a key. ${HOW}`;
const WRONG_KEY = `This server does not know the key. ${HOW}`;
const FIRST_WAIT = 0.5; // seconds until the second attempt; doubles each time
const LONGEST_WAIT = 8;
const FULL_WAIT = 10;
const SPREAD = 0.25; // of a wait, at random: not all pages come back to a server in one moment
const UNSENT_MAX = 512 * 1024; // bytes; beyond, the network is too slow for more sound
const IDLE = 4000;

export class LiveSocket {
  /**
   * @param {string} address of the live endpoint
   * @param {string[]} protocols offered to it
   * @param {object} handlers
   * @param {(state: string, detail: string, seconds: number) => void} handlers.state detail is a
   *     sentence or ""; seconds until the next attempt by itself, or 0
   * @param {(event: object) => void} handlers.event a JSON event
   * @param {(bytes: ArrayBuffer) => void} handlers.sound PCM16 of a step
   */
  constructor(address, protocols, handlers) {
    this.address = address;
    this.protocols = protocols;
    this.handlers = handlers;
    this.socket = null;
    this.wait = FIRST_WAIT;
    this.timer = 0;
    this.wasLive = false;
    this.explained = false; // the last event was an error, so a close that follows is meant
    window.addEventListener("online", () => this.timer && this.connect());
  }

  get live() {
    return this.socket?.readyState === WebSocket.OPEN && this.greeted;
  }

  connect() {
    clearTimeout(this.timer);
    this.timer = 0;
    if (this.socket && this.socket.readyState <= WebSocket.OPEN) return;
    this.greeted = this.explained = false;
    this.handlers.state(this.wasLive ? "reconnecting" : "connecting", "", 0);
    const socket = new WebSocket(this.address, this.protocols);
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }) => this.take(data);
    socket.onclose = ({ code, reason }) => this.closed(code, reason);
    this.socket = socket;
  }

  take(data) {
    if (data instanceof ArrayBuffer) {
      this.handlers.sound(data);
      return;
    }
    const event = JSON.parse(data);
    this.explained = event.type === "error";
    if (event.type === "hello") {
      this.greeted = this.wasLive = true;
      this.wait = FIRST_WAIT;
    }
    this.handlers.event(event);
    if (event.type === "hello") this.handlers.state("live", "", 0);
  }

  closed(code, reason) {
    // Without a word before it, 1011 is a keepalive that was not answered in time.
    if (code === 1008 || (code === 1011 && this.explained)) {
      this.handlers.state("error", reason || "The server ended the conversation.", 0);
    } else if (code === IDLE) {
      this.handlers.state("paused", reason, 0);
    } else if (code === 1013 && !this.greeted) {
      this.later("full", reason || "All places are taken.", spread(FULL_WAIT));
    } else {
      this.later("reconnecting", this.reason(code), spread(this.wait));
      this.wait = Math.min(LONGEST_WAIT, 2 * this.wait);
      if (!this.wasLive) this.askForKey();
    }
  }

  /** A browser does not say why a handshake was refused; a plain request tells it of a key. */
  async askForKey() {
    const headers = key() ? { Authorization: `Bearer ${key()}` } : {};
    const answer = await fetch("v1/models", { headers }).catch(() => null);
    if (answer?.status !== 401 || this.wasLive) return;
    clearTimeout(this.timer);
    this.timer = 0;
    this.handlers.state("error", key() ? WRONG_KEY : NO_KEY, 0);
  }

  reason(code) {
    if (code === 1013) return "The connection was too slow for live sound.";
    return this.wasLive ? "The connection broke." : "The server does not answer.";
  }

  later(state, detail, seconds) {
    this.handlers.state(state, detail, seconds);
    this.timer = setTimeout(() => this.connect(), 1000 * seconds);
  }

  /** @returns {boolean} whether it went out */
  send(event) {
    if (this.live) this.socket.send(JSON.stringify(event));
    return Boolean(this.live);
  }

  /** Sound that a slow network cannot carry is dropped: late sound is of no use. */
  sendSound(samples) {
    if (this.live && this.socket.bufferedAmount < UNSENT_MAX) this.socket.send(samples);
  }
}

function spread(seconds) {
  return seconds * (1 + SPREAD * (2 * Math.random() - 1));
}

/** A server with keys is opened with one in the address, after #key=: no request carries that. */
export function liveProtocols() {
  return key() ? ["realtime", `openai-insecure-api-key.${key()}`] : [];
}

function key() {
  return new URLSearchParams(location.hash.slice(1)).get("key") ?? "";
}

/** The live endpoint beside this page. */
export function liveAddress() {
  const address = new URL("live", location.href);
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  return address.href;
}
