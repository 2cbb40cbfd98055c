"""Sets go on where they were stopped, and no split holds what another keeps to itself."""

import colorsys
import hashlib
import io
import itertools
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import needs_world, run
from matplotlib.figure import Figure

from quintet.commands.world import print_statistics
from quintet.data.world.pictures import TEST_HUE, TEST_SIZES, TRAIN_SIZES
from quintet.data.world.scene_files import labels
from quintet.data.world.scenes import make_scene
from quintet.data.world.statistics import collect, plot

NUM_SCENES = 24


@pytest.fixture(scope="module")
def found() -> dict[str, list[dict]]:
    """Labels of scenes in which pictures are shown, by split."""
    return {
        split: [labels(make_scene(seed, split, ("name",))) for seed in range(NUM_SCENES)]
        for split in ("train", "test")
    }


def _hashes(folder: Path) -> dict[str, str]:
    """Of the scenes' media and labels."""
    files = sorted(path for path in folder.glob("scene-*/*") if path.name != "view.html")
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@needs_world
def test_one_process_or_two_killed_or_not_make_the_same_set(tmp_path: Path) -> None:
    arguments = ["world", "--scenes", "4", "--seed", "11", "--no-view", "--out"]
    assert run(*arguments, tmp_path / "whole") == 0
    whole = _hashes(tmp_path / "whole")
    assert len([name for name in whole if name.endswith("scene.json")]) == 4

    stopped = tmp_path / "stopped"
    process = subprocess.Popen(
        [sys.executable, "-m", "quintet", *arguments, str(stopped), "--processes", "2"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while process.poll() is None and not (stopped / "scene-0000" / "scene.json").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(0.5)  # the workers end with their parent
    (stopped / "scene-0003").mkdir(exist_ok=True)
    (stopped / "scene-0003" / "scene.json").unlink(missing_ok=True)  # as if killed within one
    (stopped / "scene-0003" / "user.wav").write_bytes(b"half")
    kept = {p: p.stat().st_mtime_ns for p in stopped.glob("*/scene.json")}
    assert kept
    assert run(*arguments, stopped) == 0
    assert _hashes(stopped) == whole
    assert all(path.stat().st_mtime_ns == made for path, made in kept.items())


@needs_world
def test_another_set_is_not_mixed_in(tmp_path: Path, capsys) -> None:
    assert run("world", "--out", tmp_path, "--scenes", 2, "--no-view") == 0
    assert run("world", "--out", tmp_path, "--scenes", 2, "--seed", 9) == 2
    assert run("world", "--out", tmp_path, "--scenes", 2, "--split", "test") == 2
    assert "name another folder with --out" in capsys.readouterr().err


def _sixth(colour: str) -> float:
    """Of the colour circle, 0 to 6."""
    red, green, blue = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    return 6 * colorsys.rgb_to_hsv(red, green, blue)[0]


def _combinations(scenes: list[dict]) -> set[tuple]:
    """Voice, thing and background of what is asked about a picture."""
    return {
        (line["voice"]["name"], shown["thing"], shown["look"]["background"],
         *shown["look"]["colours"])
        for scene in scenes for line in scene["lines"] for shown in scene["shown"]
    }  # fmt: skip


@needs_world
def test_no_voice_and_no_background_is_in_both_splits(found: dict[str, list[dict]]) -> None:
    voices, sizes = {}, {}
    for split, scenes in found.items():
        looks = [shown["look"] for scene in scenes for shown in scene["shown"]]
        assert len(looks) > NUM_SCENES
        voices[split] = {line["voice"]["name"] for scene in scenes for line in scene["lines"]}
        sizes[split] = [look["size"] for look in looks]
        for look in looks:
            assert (look["background"] == "checkers") <= (split == "test")
            for colour in look["colours"]:
                # The world's sixths are of another circle than HSV's: equal at their borders.
                away = _sixth(colour) - TEST_HUE
                if colour != "#ffffff" and min(abs(away), abs(away - 1)) > 0.1:
                    assert (0 < away < 1) == (split == "test"), (split, look)
    assert voices["train"] and voices["test"] and not voices["train"] & voices["test"]
    assert all(TEST_SIZES[0] <= size <= TEST_SIZES[1] for size in sizes["test"])
    assert all(any(a <= size <= b for a, b in TRAIN_SIZES) for size in sizes["train"])
    assert 0.4 <= min(sizes["train"]) < 0.5  # smaller than any in the test
    train, test = _combinations(found["train"]), _combinations(found["test"])
    assert len(train) > 10 and len(test) > 10
    assert not train & test
    shared = {(thing, background) for _, thing, background, *_ in train} & {
        (thing, background) for _, thing, background, *_ in test
    }
    # Things and some kinds of background are shared: it is voices, hues and sizes that are not.
    assert all(background in ("plain", "gradient") for _, background in shared)


@needs_world
def test_statistics_count_what_the_labels_say(found: dict[str, list[dict]]) -> None:
    scenes = found["train"]
    statistics = collect(scenes)
    assert statistics == collect(reversed(scenes))
    assert statistics["scenes"] == NUM_SCENES
    replies = [reply for scene in scenes for reply in scene["replies"]]
    assert statistics["requests"]["name"] == len(replies)
    assert sum(statistics["pictures_shown"].values()) == sum(len(s["shown"]) for s in scenes)
    shares = statistics["shares"]
    assert shares["overlap"] == 0
    parts = shares["user"] + shares["bystander"] + shares["assistant"] + shares["silence"]
    assert parts == pytest.approx(1, abs=0.01)
    assert statistics["latency_typed"]["most"] == 0
    assert 0.08 <= statistics["latency_spoken"]["least"] <= statistics["latency_spoken"]["most"]
    assert statistics["latency_spoken"]["most"] <= 0.34


def _by_hand() -> dict[str, Any]:
    """The labels of a scene in which one line is answered."""
    line = {"speaker": "user", "text": "Hello, hello you!", "start_seconds": 0.5,
            "end_seconds": 2.0, "voice": None, "words": []}  # fmt: skip
    reply = {"step": 6, "kind": "recorded", "request": "", "typed": False, "text": "Yes.",
             "seconds": 1.0, "words": [], "thing": None, "drawing": None,
             "drawing_seconds": 0}  # fmt: skip
    return {"num_steps": 16, "split": "recorded", "lines": [line], "typed": [], "shown": [],
            "replies": [reply]}  # fmt: skip


def test_statistics_of_a_scene_that_was_counted_by_hand() -> None:
    found = collect([_by_hand()])
    assert found["shares"] == {"user": 0.375, "bystander": 0, "assistant": 0.25,
                               "overlap": 0.125, "silence": 0.5}  # fmt: skip
    assert found["words_said"] == {"total": 3, "distinct": 2,
                                   "most_common": {"hello": 2, "you": 1}}  # fmt: skip
    assert found["latency_spoken"]["n"] == 1
    assert found["latency_spoken"]["mean"] == -0.5  # it interrupts
    assert collect([])["scene_seconds"] == {"n": 0}


def test_what_is_counted_is_drawn_in_whole_numbers(monkeypatch) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    plot(collect([_by_hand()]), [_by_hand()], io.BytesIO())
    counts, shares = 0, 0
    for axes in drawn[0].axes:
        seconds = axes.get_xlabel().startswith("seconds")
        ticks = axes.get_yticks() if seconds else axes.get_xticks()
        whole = all(tick == round(tick) for tick in ticks)
        counts += whole
        shares += not whole and axes.get_xlabel() == "share of the time"
    assert (counts, shares) == (7, 1)


def test_statistics_tell_of_speakers(capsys) -> None:
    scene = {"num_steps": 8, "split": "train", "lines": [], "typed": [], "shown": [],
             "replies": []}  # fmt: skip
    linda, low = ({"name": "en-us+linda", "speed": 145, "pitch": pitch} for pitch in (60, 40))
    found = collect([scene, *({**scene, "speaker": voice} for voice in (linda, low, linda))])
    assert found["speakers"] == {"scenes": 3, "distinct": 2, "voices": {"en-us+linda": 3}}
    print_statistics(found)
    print_statistics(collect([scene]))  # which has none
    assert capsys.readouterr().out.count("3 scenes, 2 different: en-us+linda 3") == 1


@needs_world
def test_the_command_writes_statistics(tmp_path: Path, capsys) -> None:
    assert run("world", "--out", tmp_path, "--scenes", 3, "--no-view") == 0
    found = json.loads((tmp_path / "statistics.json").read_text(encoding="utf-8"))
    assert found["scenes"] == 3
    assert (tmp_path / "statistics.png").stat().st_size > 10_000
    shown = capsys.readouterr().out
    assert all(word in shown for word in itertools.chain(("latency", "voices"), found["shares"]))
