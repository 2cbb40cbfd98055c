"""What a set of scenes holds, counted from its labels alone: `statistics.json` and its picture."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import IO, Any

import numpy as np
from matplotlib.figure import Figure

from quintet.config import STEPS_PER_SECOND

GRID = 100  # instants a second at which who speaks is asked
MOST_COMMON = 40  # words that are listed
SHARE = "share of the time"
INK, FAINT, PERSON, ASSISTANT = "#22262a", "#b9b4a6", "#a84f2d", "#6a55b0"


def collect(scenes: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The statistics of scenes' labels; shares are of the whole time, times are in seconds.

    The latency of an answer counts from the end of the last line that began before it, or of the
    step in which its message was typed; it is negative where the answer interrupts.
    """
    found = list(scenes)
    lines = [line for scene in found for line in scene["lines"]]
    replies = [reply for scene in found for reply in scene["replies"]]
    shown = [shown for scene in found for shown in scene["shown"]]
    seconds = [scene["num_steps"] / STEPS_PER_SECOND for scene in found]
    spoken = sum(not reply["typed"] for reply in replies)
    said = [words_of(line["text"]) for line in lines]
    answered = [words_of(reply["text"]) for reply in replies]
    looks = [picture["look"] for picture in shown if picture["look"]]
    return {
        "scenes": len(found),
        "seconds": round(sum(seconds), 2),
        "splits": _counted(scene["split"] for scene in found),
        "scene_seconds": summary(seconds),
        "requests": {
            **_counted(reply["kind"] for reply in replies),
            "not for the assistant": max(0, len(lines) - spoken),
        },
        "requests_typed": len(replies) - spoken,
        "quiet_scenes": sum(not scene["lines"] and not scene["typed"] for scene in found),
        "shares": _shares(found),
        "latency_spoken": summary(_latencies(found, typed=False)),
        "latency_typed": summary(_latencies(found, typed=True)),
        "lines": _counted(line["speaker"] for line in lines),
        "voices": _counted(line["voice"]["name"] for line in lines if line["voice"]),
        "speakers": _speakers(found),
        "words_said": _words(said),
        "words_answered": _words(answered),
        "pictures_shown": _counted(picture["thing"] for picture in shown),
        "pictures_drawn": _counted(reply["thing"] for reply in replies if reply["drawing"]),
        "backgrounds": _counted(look["background"] for look in looks),
        "picture_sizes": summary([look["size"] for look in looks]),
        **_staged(found),
    }


def _speakers(scenes: list[dict[str, Any]]) -> dict[str, Any]:
    """In how many scenes the assistant has another's voice, and how many such voices there are:
    one name at another speed or pitch is another voice."""
    voices = [scene["speaker"] for scene in scenes if "speaker" in scene]
    distinct = {(voice["name"], voice["speed"], voice["pitch"]) for voice in voices}
    names = _counted(voice["name"] for voice in voices)
    return {"scenes": len(voices), "distinct": len(distinct), "voices": names}


def _staged(scenes: list[dict[str, Any]]) -> dict[str, Any]:
    """What only scenes from scripts have: silences that are tested, and interruptions."""
    quiet = [span for scene in scenes for span in scene.get("quiet", ())]
    if not any("script" in scene for scene in scenes):
        return {}
    steps = sum(span["end_step"] - span["start_step"] for span in quiet)
    cut = sum(reply.get("until_step") is not None for scene in scenes for reply in scene["replies"])
    return {
        "quiet": _counted(span["kind"] for span in quiet),
        "quiet_seconds": steps / STEPS_PER_SECOND,
        "interrupted": cut,
    }


def words_of(text: str) -> list[str]:
    """The words of a text, without marks and capitals."""
    return re.findall(r"[\w']+", text.lower())


def summary(values: Iterable[float]) -> dict[str, float]:
    """Number, mean, least, most and percentiles; with no values only the number."""
    values = np.asarray(list(values), float)
    if not len(values):
        return {"n": 0}
    tenth, median, ninetieth = np.percentile(values, (10, 50, 90))
    numbers = {
        "mean": values.mean(), "least": values.min(), "p10": tenth, "p50": median,
        "p90": ninetieth, "most": values.max(),
    }  # fmt: skip
    return {"n": len(values), **{name: round(float(value), 4) for name, value in numbers.items()}}


def _counted(names: Iterable[str]) -> dict[str, int]:
    """The most frequent first, then by name: the same for any order of scenes."""
    return dict(sorted(Counter(names).items(), key=lambda item: (-item[1], item[0])))


def _words(texts: list[list[str]]) -> dict[str, Any]:
    counted = _counted(word for text in texts for word in text)
    common = dict(list(counted.items())[:MOST_COMMON])
    return {"total": sum(map(len, texts)), "distinct": len(counted), "most_common": common}


def _speaking(scene: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """bool [T] each: whether the user, somebody else and the assistant speak at each instant."""
    length = round(scene["num_steps"] / STEPS_PER_SECOND * GRID)
    tracks = {who: np.zeros(length, bool) for who in ("user", "bystander", "assistant")}
    for line in scene["lines"]:
        start, end = (round(line[key] * GRID) for key in ("start_seconds", "end_seconds"))
        tracks[line["speaker"]][start:end] = True
    for reply in scene["replies"]:
        start = round(reply["step"] / STEPS_PER_SECOND * GRID)
        tracks["assistant"][start : start + round(reply["seconds"] * GRID)] = True
    return tracks["user"], tracks["bystander"], tracks["assistant"]


def _shares(scenes: list[dict[str, Any]]) -> dict[str, float]:
    """Of the time; `overlap` is user and assistant at once, `silence` nobody at all."""
    totals, instants = np.zeros(5), 0
    for scene in scenes:
        user, bystander, assistant = _speaking(scene)
        silence = ~(user | bystander | assistant)
        tracks = (user, bystander, assistant, user & assistant, silence)
        totals += [track.sum() for track in tracks]
        instants += len(user)
    names = ("user", "bystander", "assistant", "overlap", "silence")
    shares = totals / max(instants, 1)
    return {name: round(float(share), 4) for name, share in zip(names, shares, strict=True)}


def _latencies(scenes: list[dict[str, Any]], typed: bool) -> Iterable[float]:
    for scene in scenes:
        asked = [(line["start_seconds"], line["end_seconds"]) for line in scene["lines"]]
        if typed:
            steps = [message["step"] / STEPS_PER_SECOND for message in scene["typed"]]
            asked = [(start, start + 1 / STEPS_PER_SECOND) for start in steps]
        for reply in scene["replies"]:
            start = reply["step"] / STEPS_PER_SECOND
            before = [line for line in asked if line[0] < start]
            if reply["typed"] == typed and before:
                yield start - max(before)[1]


def plot(statistics: dict[str, Any], scenes: Iterable[dict[str, Any]], file: IO[bytes]) -> None:
    """The same as a picture: PNG."""
    found = list(scenes)
    figure = Figure((13, 7), dpi=80, layout="constrained")
    axes = figure.subplots(2, 4).flat
    _bars(next(axes), "requests", statistics["requests"], "count")
    _bars(next(axes), "who speaks", statistics["shares"], SHARE)
    seconds = [scene["num_steps"] / STEPS_PER_SECOND for scene in found]
    _histogram(next(axes), "length of scenes", {"": seconds}, "seconds")
    waits = {"spoken": list(_latencies(found, typed=False))}
    waits["typed"] = list(_latencies(found, typed=True))
    _histogram(next(axes), "latency of answers", waits, "seconds after the request")
    _bars(next(axes), "voices", statistics["voices"], "lines")
    common = statistics["words_said"]["most_common"]
    _bars(next(axes), f"words said, {statistics['words_said']['distinct']} in all", common, "count")
    pictures = Counter(statistics["pictures_shown"])
    pictures.update(statistics["pictures_drawn"])
    _bars(next(axes), f"pictures, {len(pictures)} things", _counted(pictures.elements()), "count")
    _bars(next(axes), "backgrounds", statistics["backgrounds"], "pictures shown")
    figure.savefig(file, format="png")


def _bars(axes: Any, title: str, numbers: Mapping[str, float], unit: str) -> None:
    """The sixteen largest, as horizontal bars."""
    shown = dict(list(numbers.items())[:16])
    axes.barh(list(shown), list(shown.values()), color=PERSON)
    axes.invert_yaxis()
    if unit != SHARE:  # there is no half of what is counted
        axes.locator_params(axis="x", integer=True)
    _dress(axes, title, unit)
    if not shown:
        axes.set(xticks=[], yticks=[])


def _histogram(axes: Any, title: str, values: dict[str, list[float]], unit: str) -> None:
    every = [value for some in values.values() for value in some]
    width = 0.125 if max(every, default=0) < 4 else 1.0
    first = width * np.floor(min([0.0, *every]) / width)
    edges = np.arange(first, max(every, default=1) + 2 * width, width)
    colours = (PERSON, ASSISTANT)
    some = {name: value for name, value in values.items() if value}
    if some:
        axes.hist(
            list(some.values()), edges, label=list(some), color=colours[: len(some)], stacked=True
        )
    if len(values) > 1 and some:
        axes.legend(frameon=False, fontsize=8)
    axes.locator_params(axis="y", integer=True)
    _dress(axes, title, unit)


def _dress(axes: Any, title: str, unit: str) -> None:
    axes.set_title(title, fontsize=10, loc="left", color=INK, fontweight="bold")
    axes.set_xlabel(unit, fontsize=8, color=INK)
    axes.tick_params(labelsize=8, colors=INK, length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(FAINT)
