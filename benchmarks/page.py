"""The page in a browser, as a person meets it: how soon it answers, how soon it is silent.

Headless Chromium opens the page of a server of its own and hears, as its microphone, requests in
voices that training never saw, and a voice that talks over every other answer. The page itself
notes the times, on its own clock: from the last loud piece of the microphone (20 ms each) to the
first audible sample at the loudspeaker, and from the first loud piece over the speech to silence.
A piece is loud as a whole, so the requests are such as end loud: the v of "five" would go on for
44 ms behind it. These end inside it, so their times are some 8 ms too short. What the microphone
itself and the network of a real person take comes on top. A request that nothing follows has no
time, so how many were answered stands beside the times, and how many of these before the page knew
that they were over, which it does a third of a second after.

    quintet bench page --minutes 10
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import Row, row
from benchmarks.serve import server
from quintet.config import SAMPLE_RATE, STEP_SAMPLES, UserError
from quintet.media.audio import write_audio
from quintet.media.speech import TEST_VOICES, Voice, synthesize

CHROMIUM = Path("/usr/bin/chromium")
MINUTES = 3.0
ANSWER_LIMIT, STOP_LIMIT = 500.0, 400.0  # milliseconds
REQUESTS = ("count to ten.", "say banana.", "hello.", "repeat after me: the red car.",
            "count to seven.", "say umbrella.")  # fmt: skip
OVER = "well, maybe tomorrow."  # what is said over an answer
ANSWER_AFTER = 2.0  # seconds from a request until it is talked over, if it is
ROUNDS = 3  # after so many, requests have ended at all places of the clock
LOUD = 0.02  # of a sample, 0 to 1; in the page of the RMS of a piece
BETWEEN = 8.0  # seconds between two requests: the model looks back no further
# Seconds that a request may come later than the one before did, as the microphone begins late and
# falls behind on a busy machine; less than from its end to that of the voice over its answer.
NEAR, FIRST_NEAR = 1.0, 2.5  # the second: before it is known how late the microphone began
FIGURES = ("milliseconds", "skipped", "underruns", "glitches", "secondsPlayed", "tooEarly")


def run(model: str = "nano", minutes: float | None = None) -> list[Row]:
    """Milliseconds beside their limits, and what went wrong meanwhile."""
    minutes = minutes or MINUTES
    if not CHROMIUM.exists():
        raise UserError(f"There is no browser at {CHROMIUM}; install the package chromium.")
    with tempfile.TemporaryDirectory() as folder, server(model, 1) as address:
        sound = Path(folder) / "requests.wav"
        heard, ends = _requests()
        write_audio(sound, heard)
        seen = _watch(address, sound, minutes)
    return [
        *_answers(seen, np.array(ends) / SAMPLE_RATE, len(heard) / SAMPLE_RATE),
        *_times("voice over the speech to silence", seen["stops"], STOP_LIMIT),
        row("speech that was played", "s", seen["secondsPlayed"]),
        row("underruns", "gaps", seen["underruns"]),
        *_glitches(seen["glitches"]),
        row("steps left out by the server", "steps", seen["skipped"]),
        row("median of a step", "ms", seen["milliseconds"], 250.0),
        row("minutes", "min", minutes),
    ]


def _glitches(times: float) -> list[Row]:
    """Where the browser counts them."""
    name = "times that the sound card found nothing to play"
    return [] if np.isnan(times) else [row(name, "times", times)]


def _times(name: str, milliseconds: list[float], limit: float) -> list[Row]:
    if not milliseconds:
        return []
    median, p95 = (float(np.percentile(milliseconds, percent)) for percent in (50, 95))
    return [row(f"{name}, mean", "ms", float(np.mean(milliseconds)), limit),
            row(f"{name}, median", "ms", median, limit),
            row(f"{name}, p95", "ms", p95, limit)]  # fmt: skip


def _answers(seen: dict[str, Any], ends: np.ndarray, length: float) -> list[Row]:
    """How soon requests were answered, and how many of those that had time for it; `ends` in
    seconds of the sound, which begins anew after `length`."""
    begun, over = seen["begun"], seen["over"]
    rounds = np.arange(0, (over - begun) / 1_000 + length, length)
    ended = begun + 1_000 * (rounds[:, None] + ends).ravel()
    requests = int((ended < over - 1_000 * ANSWER_AFTER).sum())
    lag, near, others, answered = 0.0, FIRST_NEAR, 0, dict[int, Any]()  # by request
    for answer in seen["answers"]:
        behind = answer["lastLoud"] - ended
        nearest = int(np.abs(behind - lag).argmin())
        if abs(behind[nearest] - lag) >= 1_000 * near:
            others += 1
            continue
        lag, near = behind[nearest], NEAR
        if nearest < requests:
            answered[nearest] = answer
    delays = [answer["delay"] for answer in answered.values()]
    early = sum(answer["early"] for answer in answered.values())
    return [
        *_times("end of speech to first audible sample", delays, ANSWER_LIMIT),
        row("requests", "requests", float(requests)),
        row("requests answered", "requests", float(len(answered))),
        row("requests answered before the page knew that they were over", "requests", float(early)),
        row("other voices that speech followed", "voices", float(others)),
        row("speech that began before a voice was over", "times", float(seen["tooEarly"])),
    ]


def _requests() -> tuple[np.ndarray, list[int]]:
    """What the microphone hears again and again, and the sample behind the last loud one of each
    request. These lie evenly over a step of the server's clock, in the next round a little later,
    so that no place of the clock counts more than another, wherever the first round begins."""
    parts: list[np.ndarray] = []
    length, ends = 0, []
    for index, request in enumerate(REQUESTS):
        said = synthesize(request, Voice(TEST_VOICES[index % len(TEST_VOICES)], 150))
        last = int(np.flatnonzero(np.abs(said) > LOUD)[-1]) + 1
        wanted = STEP_SAMPLES * index // len(REQUESTS)
        before = np.zeros((wanted - length - last) % STEP_SAMPLES, np.float32)
        after = np.zeros(round(BETWEEN * SAMPLE_RATE), np.float32)
        if index % 2 == 0:  # counting, greeting and such are long enough to be talked over
            over = synthesize(OVER, Voice(TEST_VOICES[-1 - index % 3], 160))
            begin = round(ANSWER_AFTER * SAMPLE_RATE)
            after[begin : begin + len(over)] = over
        ends.append(length + len(before) + last)
        parts += [before, said, after]
        length += len(before) + len(said) + len(after)
    later = STEP_SAMPLES // (ROUNDS * len(REQUESTS))
    parts.append(np.zeros((later - length) % STEP_SAMPLES, np.float32))
    return np.concatenate(parts), ends


def _watch(address: str, sound: Path, minutes: float) -> dict[str, Any]:
    """What the page noted after so many minutes."""
    from playwright.sync_api import sync_playwright  # of the extra dev

    flags = ["--no-sandbox", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
             f"--use-file-for-fake-audio-capture={sound}",
             "--autoplay-policy=no-user-gesture-required"]  # fmt: skip
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=flags)
        page = browser.new_page()
        page.goto(address)
        page.wait_for_selector('body[data-state="live"]')
        begun = page.evaluate("performance.now()")
        page.click("#microphone")
        end = time.monotonic() + 60 * minutes
        while time.monotonic() < end:
            page.wait_for_timeout(1_000)
            if page.evaluate("quintet.state") != "live":
                raise UserError("The page lost its connection; run this on a quieter machine.")
        names = ["answers", "stops", *FIGURES]
        seen = {name: page.evaluate(f"quintet.{name}") for name in names}
        return seen | {"begun": begun, "over": page.evaluate("performance.now()")}
