"""How fast the synthetic world makes finished, tokenized scenes on one core, and what takes long.

Seconds of processor time, of this process and of the one that speaks, so that a busy machine gives
the same figures as a quiet one. "times real time" is seconds of scenes for a second of one core.

    quintet bench world
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import Row, row
from quintet.config import SAMPLE_RATE, STEP_SAMPLES
from quintet.data.scene_rows import SceneEncoder
from quintet.data.world.pictures import take_picture
from quintet.data.world.scene_files import save_scene
from quintet.data.world.scenes import PICTURE_SIZE, Scene, make_scene
from quintet.live import load
from quintet.media import espeak
from quintet.media.speech import ASSISTANT_VOICE, say

NUM_SCENES, FIRST = 60, 700_000
THREADS = 1
TICK = 0.01  # seconds: the least that the system's count of processor time tells apart


def run(model: str = "nano") -> list[Row]:
    """Times real time of each part and of all, and each part's share of the time.

    Raises:
        UserError: espeak-ng or the font, which the world is made with, is not installed.
    """
    torch.set_num_threads(THREADS)
    system = load(model)
    encoder = SceneEncoder(system.config, system.tokenizers)
    make_scene(FIRST - 1, "train")  # what is loaded once is not counted
    scenes, made = _timed(lambda: [make_scene(FIRST + n, "train") for n in range(NUM_SCENES)])
    seconds = sum(len(scene.microphone) for scene in scenes) / SAMPLE_RATE
    _, rows = _timed(lambda: [encoder.sample(scene) for scene in scenes])
    with tempfile.TemporaryDirectory() as folder:
        _, saved = _timed(lambda: _save(scenes, Path(folder)))
    answers = {reply.text: reply.speech for scene in scenes for reply in scene.replies}
    heard = [scene.microphone for scene in scenes]
    heard += [np.pad(s, (0, -len(s) % STEP_SAMPLES)) for s in answers.values()]
    parts = {
        "speech": _timed(lambda: _speak(scenes))[1],
        "pictures": _timed(lambda: _show(scenes))[1],
        "audio codes": _timed(lambda: [system.tokenizers.encode_audio(one) for one in heard])[1],
    }
    parts["scripts, noise and mixing"] = made - parts["speech"] - parts["pictures"]
    parts["other rows"] = rows - parts["audio codes"]
    total = made + rows
    return [
        row("scenes with rows, all", "times real time", seconds / total),
        row("the same", "scenes / s", NUM_SCENES / total),
        row("making scenes", "times real time", seconds / made),
        row("saving them as files", "times real time", seconds / saved),
        row("their rows", "times real time", seconds / rows),
        *(row(f"share of {name}", "%", 100 * part / total) for name, part in parts.items()),
    ]


def _timed(act: Callable[[], Any]) -> tuple[Any, float]:
    """The result, and the processor's seconds of this process and of those it started."""
    espeak.close()  # a process is counted when it has ended
    before = os.times()
    result = act()
    espeak.close()
    return result, max(TICK, sum(os.times()[:4]) - sum(before[:4]))


def _save(scenes: Sequence[Scene], folder: Path) -> None:
    for number, scene in enumerate(scenes):
        save_scene(scene, folder / str(number))


def _speak(scenes: Sequence[Scene]) -> None:
    """Everything that is said in `scenes` again; an answer that was said before costs nothing."""
    for scene in scenes:
        for line in scene.lines:
            assert line.voice is not None
            say(line.text, line.voice)
    for text in {reply.text for scene in scenes for reply in scene.replies}:
        say(text, ASSISTANT_VOICE)


def _show(scenes: Sequence[Scene]) -> None:
    rng = np.random.default_rng(0)
    for scene in scenes:
        for shown in scene.shown:
            take_picture(shown.thing, rng, scene.split, PICTURE_SIZE)
