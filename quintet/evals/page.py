"""The report card as one self-contained page: scores with their intervals, examples to judge."""

from __future__ import annotations

import base64
import io
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from PIL import Image

from quintet.config import SAMPLE_RATE, STEP_SAMPLES
from quintet.evals.live_scores import SceneResult
from quintet.evals.picture_judge import PictureJudge
from quintet.evals.recognizer import Recognizer
from quintet.whole_file import write_whole

EXAMPLES = 3  # scenes of each kind
HOW = (
    "Written words are compared as they are. What is said must be in a free, letter by letter "
    "transcript of a recognizer that was trained on real speech alone; what is drawn must look "
    "most like the thing asked for, out of 64, to a classifier that was trained on real pictures "
    "alone. Naming other things as well counts as wrong. Rows that begin with a judge say how good "
    "the judges are on the real thing, and on the real thing encoded and decoded. Silence is "
    "judged wherever no answer is due. A delay of one step is the step after the request's end. "
    "Silent when nothing asked is the share of the scenes of chatter and of quiet without any "
    "output at all; guessing is to speak at random as often as the script does, and gets the mean "
    "over these scenes of (1 − p) ^ (quiet steps), p being the share of steps, over all scenes "
    "played, in which the script has output. n counts requests, steps or scenes; requests and "
    "steps of one scene are alike, so intervals come from resampling whole scenes. Pause handling, "
    "turn taking, interruption, backchannel, talking to others and background speech are named "
    "after Full-Duplex-Bench: a take-over is any output in the time asked about, an error where "
    "silence is right (pauses, talk to others, background). A named speaker is one of the voices "
    "that the model ships (of seven); an unheard one was in no training: of both it hears one "
    "to two seconds of any lines first. Its voice is nearest when, of eight, the words in that "
    "voice lie closest to what it said. Messages are turn mode, without a clock. "
    "Of things that are counted the number must be written in words, and no other number. An "
    "example is green only where every word is right."
)
SECOND = (
    " A second recognizer, PocketSphinx, chooses one of the 64 names; it was made elsewhere.",
    " The second recognizer was left out: its package, pocketsphinx, is not installed.",
)
NOT_SHARES = ("delay", "seconds", "error_rate", "bits_per", "decibels")  # parts of names
STYLE = """
:root { color-scheme: light dark; --line: #8884; --bar: #2563a8; --band: #2563a855; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 66rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; } h2 { font-size: 1.1rem; margin-top: 2.2rem; }
p.note { opacity: .75; max-width: 48rem; }
table { border-collapse: collapse; width: 100%; }
td, th { padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: left; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.scale { position: relative; height: .9rem; min-width: 12rem; background: var(--line);
  border-radius: .3rem; overflow: hidden; }
.scale i { position: absolute; inset: 0 auto 0 0; background: var(--bar); }
.scale b { position: absolute; top: 0; bottom: 0; background: var(--band); }
.scale u { position: absolute; top: 0; bottom: 0; width: 2px; background: #d33; }
section { border: 1px solid var(--line); border-radius: .7rem; padding: .8rem 1.1rem;
  margin: .8rem 0; }
.requests { display: grid; gap: .5rem; }
.request { display: flex; gap: 1rem; align-items: center; flex-wrap: wrap; }
.request img { width: 84px; height: 84px; border-radius: .4rem; image-rendering: auto; }
.good { color: #15803d; } .bad { color: #c2410c; } audio { height: 2rem; }
small { opacity: .7; }
@media (prefers-color-scheme: dark) { .good { color: #4ade80; } .bad { color: #fb923c; } }
"""


def write_page(
    path: Path,
    report: dict[str, Any],
    results: dict[str, list[SceneResult]],
    recognizer: Recognizer,
    judge: PictureJudge,
) -> None:
    """Write the page; it appears whole or not at all."""
    scenes = report["scenes_per_kind"]
    rows = "\n".join(_score_row(name, score) for name, score in report["scores"].items())
    examples = "\n".join(
        f"<h2>{escape(kind)}</h2>\n"
        + "\n".join(_example(result, recognizer, judge) for result in played[:EXAMPLES])
        for kind, played in results.items()
    )
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Report card: {escape(report['model'])}</title><style>{STYLE}</style></head><body>"
        f"<h1>Report card: {escape(report['model'])}</h1>\n"
        f'<p class="note">{scenes} held-out scenes of each kind, seed {report["seed"]}; voices, '
        "backgrounds and picture sizes that training never saw. The band is the 95 % interval, "
        "the red line what guessing would get.</p>\n"
        f'<p class="note">{HOW}{SECOND[not report["second_recognizer"]]}</p>\n'
        f"<table><tr><th>score</th><th>value</th><th></th><th>interval</th><th>n</th></tr>{rows}"
        f"</table>\n{examples}\n</body></html>\n"
    )
    write_whole(path, page)


def _score_row(name: str, score: dict[str, Any]) -> str:
    title = escape(name.replace("_", " "))
    if score["value"] is None:
        return f"<tr><td>{title}</td><td colspan=4>no case</td></tr>"
    if any(part in name for part in NOT_SHARES):
        value, bar = f"{score['value']:.2f}", ""
        interval = f"{score['low']:.2f} - {score['high']:.2f}"
    else:
        value, bar = f"{100 * score['value']:.1f} %", _bar(score)
        interval = f"{100 * score['low']:.1f} - {100 * score['high']:.1f} %"
    return (
        f'<tr><td>{title}</td><td class="number">{value}</td><td>{bar}</td>'
        f'<td class="number">{interval}</td><td class="number">{score["n"]:,}</td></tr>'
    )


def _bar(score: dict[str, Any]) -> str:
    low, high = 100 * score["low"], 100 * score["high"]
    chance = score["chance"]
    mark = "" if chance is None else f'<u style="left:{100 * chance:.2f}%"></u>'
    return (
        f'<div class="scale"><i style="width:{100 * score["value"]:.2f}%"></i>'
        f'<b style="left:{low:.2f}%;width:{high - low:.2f}%"></b>{mark}</div>'
    )


def _example(result: SceneResult, recognizer: Recognizer, judge: PictureJudge) -> str:
    scene = result.scene
    said = np.concatenate([np.zeros(STEP_SAMPLES, np.float32), *(o.audio for o in result.steps)])
    heard = "; ".join(f"{line.speaker}: {line.text}" for line in scene.lines)
    typed = "; ".join(f"typed: {one.text}" for one in scene.typed)
    shown = "".join(_image(one.picture, f"shown: {one.thing.name}") for one in scene.shown)
    requests = []
    for outcome in result.outcomes:
        mark = "good" if outcome.is_exact else "bad"
        spelled = recognizer.transcribe(outcome.speech)
        drawings = "".join(
            _image(picture, f"drawn; the judge sees: {judge.name(picture)}")
            for picture in outcome.pictures
        )
        requests.append(
            f'<div class="request"><div>{escape(outcome.reply.request)} &rarr; '
            f'<span class="{mark}">{escape(outcome.text or "(nothing)")}</span><br>'
            f"<small>expected: {escape(outcome.reply.text)} &middot; heard: "
            f"{escape(spelled or '(nothing)')}</small></div>{drawings}</div>"
        )
    false = f"false output in {result.false_output_steps} of {result.quiet_steps} quiet steps"
    return (
        f"<section><small>seed {scene.seed} &middot; {escape(heard or 'nothing said')} "
        f"{escape(typed)} &middot; {false}</small>\n"
        f'<div class="request">{_audio(scene.microphone)}{_audio(said)}{shown}</div>\n'
        f'<div class="requests">{"".join(requests)}</div></section>'
    )


def _image(pixels: np.ndarray, title: str) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    data = base64.b64encode(file.getvalue()).decode()
    text = escape(title)
    return f'<img src="data:image/png;base64,{data}" alt="{text}" title="{text}">'


def _audio(samples: np.ndarray) -> str:
    file = io.BytesIO()
    soundfile.write(file, np.clip(samples, -1, 1), SAMPLE_RATE, format="OGG", subtype="VORBIS")
    data = base64.b64encode(file.getvalue()).decode()
    return f'<audio controls preload="none" src="data:audio/ogg;base64,{data}"></audio>'
