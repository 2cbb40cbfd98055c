"""Recordings made with espeak-ng, of which every word's time is known."""

from pathlib import Path

import numpy as np
import soundfile

from quintet.config import SAMPLE_RATE
from quintet.media.speech import Voice, Word, say

READER, PERSON, HELPER = Voice("en-gb-x-rp+m6", 150), Voice("en-us+m3"), Voice("en-us+f1")
STORY = (
    "It rained all night, and in the morning the garden was under water.",
    "My father works in the city, but that day he stayed at home.",
    "We bought bread, cheese and some coffee at the market.",
    "The train was late again, so my sister missed the last bus to the village.",
    "She told me about the elephant that she had seen in the winter.",
    "Nobody believed her at first.",
    "Then a man came in, looked at the clock over the door and asked for the key to the house.",
    "He lost his umbrella again, and there was nothing to be done about it.",
)


def story(seed: int, sentences: int = len(STORY)) -> tuple[np.ndarray, list[Word]]:
    """A voice that reads, with pauses between sentences and noise: sound [S] and true words."""
    rng = np.random.default_rng(seed)
    sound, words, at = [], [], 0
    for index in range(sentences):
        speech, said = say(STORY[index % len(STORY)], READER)
        gap = round(rng.uniform(0.45, 1.5) * SAMPLE_RATE)
        words += [word.later(at + gap) for word in said]
        sound += [np.zeros(gap, np.float32), 0.5 * speech]
        at += gap + len(speech)
    track = np.concatenate([*sound, np.zeros(SAMPLE_RATE // 2, np.float32)])
    noise = rng.standard_normal(len(track), np.float32)
    return track + np.float32(10 ** (-50 / 20)) * noise, words


def conversation(turns: int, seed: int) -> tuple[np.ndarray, list[dict]]:
    """Two people by turns, who overlap now and then: sound [S, 2] and lines with times."""
    rng = np.random.default_rng(seed)
    length = turns * 6 * SAMPLE_RATE
    sound, lines, at = np.zeros((length, 2), np.float32), [], SAMPLE_RATE // 2
    for turn in range(turns):
        assistant = turn % 2
        text = STORY[int(rng.integers(len(STORY)))]
        speech, words = say(text, HELPER if assistant else PERSON)
        sound[at : at + len(speech), assistant] += 0.4 * speech
        lines.append({
            "speaker": "assistant" if assistant else "person", "text": text,
            "start_seconds": at / SAMPLE_RATE, "end_seconds": (at + len(speech)) / SAMPLE_RATE,
            "words": [(w.text, (at + w.start) / SAMPLE_RATE, (at + w.end) / SAMPLE_RATE)
                      for w in words],
        })  # fmt: skip
        at += len(speech) + round(rng.uniform(-0.4, 1.2) * SAMPLE_RATE)
    sound += np.float32(10 ** (-60 / 20)) * rng.standard_normal(sound.shape, np.float32)
    return sound[: at + SAMPLE_RATE], lines


def write_story(folder: Path, seed: int, sentences: int = len(STORY)) -> list[Word]:
    """`story.flac` at another rate, and its text; the true words."""
    sound, words = story(seed, sentences)
    folder.mkdir(parents=True, exist_ok=True)
    soundfile.write(folder / "story.flac", sound, SAMPLE_RATE)
    text = "\n".join(STORY[index % len(STORY)] for index in range(sentences))
    (folder / "story.txt").write_text(text, encoding="utf-8")
    return words
