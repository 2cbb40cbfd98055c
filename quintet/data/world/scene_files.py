"""Scenes as folders: their media, and `scene.json` with every label.

`user.wav` is the microphone, `reply.wav` the answers placed on the clock; `picture-N.png` is what
is shown and `drawing-N.png` what the assistant draws, each counted from 0; `speaker.wav` whose
voice it has, if not its own. The labels are written last: a folder that has them is finished.
docs/world.md describes them.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from quintet.config import (
    MOST_SPEAKER_STEPS,
    SAMPLE_RATE,
    STEP_SAMPLES,
    STEPS_PER_SECOND,
    UserError,
)
from quintet.data.world.pictures import Look
from quintet.data.world.room import Room
from quintet.data.world.scenes import (
    DRAWING_STEPS,
    Line,
    Moment,
    Quiet,
    Reply,
    Scene,
    Shown,
    Typed,
)
from quintet.data.world.speakers import Speaker
from quintet.data.world.wide_things import WIDE_BY_NAME
from quintet.media.audio import read_audio, write_audio
from quintet.media.images import read_image, write_image
from quintet.media.speech import Voice, Word
from quintet.whole_file import whole_file

FORMAT = 3  # of the labels; 1 had no words and no looks, 2 no moments and no interruptions
SPEAKER_FILE = "speaker.wav"


def scene_folder(folder: Path, index: int) -> Path:
    """Of scene `index` of the set in `folder`."""
    return folder / f"scene-{index:04d}"


def save_scene(scene: Scene, folder: Path) -> None:
    """Write a scene's media and labels into `folder`.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_audio(folder / "user.wav", scene.microphone)
        write_audio(folder / "reply.wav", spoken_replies(scene))
        if scene.speaker is not None:
            write_audio(folder / SPEAKER_FILE, scene.speaker.sound)
        for index, shown in enumerate(scene.shown):
            write_image(folder / f"picture-{index}.png", shown.picture)
        drawings = [reply.drawing for reply in scene.replies if reply.drawing is not None]
        for index, drawing in enumerate(drawings):
            write_image(folder / f"drawing-{index}.png", drawing)
        text = json.dumps(labels(scene), indent=1, ensure_ascii=False) + "\n"
        with whole_file(folder / "scene.json") as file:
            file.write(text.encode())
    except OSError as error:
        raise UserError(
            f"{folder} cannot be written ({error.strerror}); choose another folder."
        ) from None


def spoken_replies(scene: Scene) -> np.ndarray:
    """float32 [num_steps * 6000]: the assistant's voice where the answers begin."""
    track = np.zeros(scene.num_steps * STEP_SAMPLES, np.float32)
    for reply in scene.replies:
        start, heard = reply.step * STEP_SAMPLES, reply.heard
        track[start : start + len(heard)] = heard[: len(track) - start]
    return track


def labels(scene: Scene) -> dict[str, Any]:
    """Everything about a scene but its media, as JSON can hold it; files by `save_scene`'s names.

    Times are in seconds where the name says so, and in words, [text, start, end]; `step` counts
    quarters of a second.
    """
    return {
        "format": FORMAT,
        "seed": scene.seed,
        "split": scene.split,
        "source": scene.source,
        "num_steps": scene.num_steps,
        "lines": [
            {
                "speaker": line.speaker, "text": line.text,
                "start_seconds": line.start_sample / SAMPLE_RATE,
                "end_seconds": line.end_sample / SAMPLE_RATE,
                "voice": dataclasses.asdict(line.voice) if line.voice else None,
                "words": _in_seconds(line.words, 0),
            }
            for line in scene.lines
        ],
        "typed": [dataclasses.asdict(typed) for typed in scene.typed],
        "shown": [
            {
                "step": shown.step, "thing": shown.thing.name, "picture": f"picture-{index}.png",
                "look": dataclasses.asdict(shown.look) if shown.look else None,
            }
            for index, shown in enumerate(scene.shown)
        ],
        "replies": list(_reply_labels(scene)),
        "moments": [
            {
                "kind": moment.kind, "start_seconds": moment.start_sample / SAMPLE_RATE,
                "end_seconds": moment.end_sample / SAMPLE_RATE,
            }
            for moment in scene.moments
        ],
        **({"speaker": dataclasses.asdict(scene.speaker.voice)} if scene.speaker else {}),
        **_staged_labels(scene),
    }  # fmt: skip


def _staged_labels(scene: Scene) -> dict[str, Any]:
    """What only scenes that were staged from a script have."""
    if not scene.script:
        return {}
    return {
        "quiet": [dataclasses.asdict(quiet) for quiet in scene.quiet],
        "room": dataclasses.asdict(scene.room) if scene.room else None,
        "script": scene.script.splitlines(),
    }


def _reply_labels(scene: Scene) -> Iterable[dict[str, Any]]:
    drawn = 0
    for reply in scene.replies:
        yield {
            "step": reply.step, "kind": reply.kind, "request": reply.request,
            "typed": reply.typed, "text": reply.text,
            "seconds": len(reply.heard) / SAMPLE_RATE, "until_step": reply.until_step,
            "words": _in_seconds(reply.words, reply.step * STEP_SAMPLES),
            "thing": reply.thing.name if reply.thing else None,
            "drawing": None if reply.drawing is None else f"drawing-{drawn}.png",
            "drawing_seconds": 0 if reply.drawing is None else DRAWING_STEPS / STEPS_PER_SECOND,
        }  # fmt: skip
        drawn += reply.drawing is not None


def _in_seconds(words: Iterable[Word], start: int) -> list[tuple[str, float, float]]:
    """Exact to the sample; `start` is what is added to each."""
    return [
        (w.text, round((start + w.start) / SAMPLE_RATE, 5), round((start + w.end) / SAMPLE_RATE, 5))
        for w in words
    ]


def read_labels(folder: Path) -> dict[str, Any]:
    """The labels of a saved scene.

    Raises:
        UserError: there are none, or they are damaged or of another version.
    """
    path = folder / "scene.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        version = found["format"] if isinstance(found, dict) and "format" in found else 1
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}); name a scene's folder."
        ) from None
    except ValueError:
        raise UserError(f"{path} is damaged; delete its folder and make it again.") from None
    if version != FORMAT:
        raise UserError(
            f"{path} was made by another version of Quintet; make the set again in a new folder."
        )
    assert isinstance(found, dict)
    return found


def load_scene(folder: Path) -> Scene:
    """A saved scene; its sound is that of the files, which hold 16 bits.

    Raises:
        UserError: a file is missing or damaged, or does not fit the labels.
    """
    found = read_labels(folder)
    try:
        longest = found["num_steps"] / STEPS_PER_SECOND
        microphone = read_audio(folder / "user.wav", longest)
        track = read_audio(folder / "reply.wav", longest)
        scene = Scene(
            int(found["seed"]), str(found["split"]), int(found["num_steps"]), microphone,
            tuple(_line(line) for line in found["lines"]),
            tuple(Typed(int(typed["step"]), str(typed["text"])) for typed in found["typed"]),
            tuple(
                Shown(
                    int(shown["step"]), WIDE_BY_NAME[shown["thing"]],
                    _picture(folder, shown["picture"]), _look(shown["look"]),
                )
                for shown in found["shown"]
            ),
            tuple(_reply(folder, reply, track) for reply in found["replies"]),
            str(found["source"]), "".join(f"{line}\n" for line in found.get("script", ())),
            Room(**found["room"]) if found.get("room") else None,
            tuple(Quiet(**quiet) for quiet in found.get("quiet", ())),
            tuple(
                Moment(
                    str(moment["kind"]), _samples(moment["start_seconds"]),
                    _samples(moment["end_seconds"]),
                )
                for moment in found["moments"]
            ),
            _speaker(folder, found["speaker"]) if "speaker" in found else None,
        )  # fmt: skip
        if not len(track) == len(microphone) == scene.num_steps * STEP_SAMPLES:
            raise ValueError("sound of another length")
    except UserError:
        raise
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        raise UserError(
            f"{folder} holds a damaged scene; delete the folder and make it again."
        ) from None
    return scene


def _samples(seconds: Any) -> int:
    return round(float(seconds) * SAMPLE_RATE)


def _words(found: Any, start: int) -> tuple[Word, ...]:
    return tuple(
        Word(str(text), _samples(first) - start, _samples(last) - start)
        for text, first, last in found
    )


def _line(found: dict[str, Any]) -> Line:
    voice = found["voice"] and Voice(**found["voice"])
    return Line(
        str(found["text"]), _samples(found["start_seconds"]), _samples(found["end_seconds"]),
        voice, str(found["speaker"]), _words(found["words"], 0),
    )  # fmt: skip


def _speaker(folder: Path, voice: dict[str, Any]) -> Speaker:
    sound = read_audio(folder / SPEAKER_FILE, MOST_SPEAKER_STEPS / STEPS_PER_SECOND)
    if len(sound) % STEP_SAMPLES:
        raise ValueError("a speaker's sound is whole steps")
    return Speaker(Voice(**voice), sound)


def _look(found: dict[str, Any] | None) -> Look | None:
    if found is None:
        return None
    first, second = found["colours"]
    count = int(found.get("count", 1))  # in older labels there was no more than one
    return Look(str(found["background"]), (str(first), str(second)), float(found["size"]), count)


def _picture(folder: Path, name: str) -> np.ndarray:
    if Path(name).name != name:
        raise ValueError("a picture's name is no path")
    return np.asarray(read_image(folder / name))


def _reply(folder: Path, found: dict[str, Any], track: np.ndarray) -> Reply:
    step, drawing, thing = int(found["step"]), found["drawing"], found["thing"]
    start = step * STEP_SAMPLES
    return Reply(
        step, str(found["kind"]), str(found["request"]), bool(found["typed"]),
        str(found["text"]), track[start : start + _samples(found["seconds"])],
        thing and WIDE_BY_NAME[thing], drawing and _picture(folder, drawing),
        _words(found["words"], start), found["until_step"],
    )  # fmt: skip
