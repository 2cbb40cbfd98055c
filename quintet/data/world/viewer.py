"""A static page of scenes: who does what when, with players and pictures, no server needed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from quintet.config import STEPS_PER_SECOND, UserError
from quintet.data.world.scene_files import labels, save_scene
from quintet.data.world.scenes import Scene

# The rows of a scene's timeline, from the top: class of the bars, then the label.
ROWS = {
    "bystander": "bystander", "user": "user says", "typed": "user types", "shown": "user shows",
    "speech": "assistant says", "drawing": "assistant draws",
}  # fmt: skip
SHORTEST_BAR = 0.25  # seconds: a moment must stay visible

STYLE = """
:root { color-scheme: light dark; --edge: #8884; --soft: #8882; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 62rem;
  padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.05rem; margin: 0 0 .6rem; }
h2 small { font-weight: normal; opacity: .65; margin-left: .6em; }
section { border: 1px solid var(--edge); border-radius: .7rem; padding: 1rem 1.2rem;
  margin: 1.2rem 0; }
.players { display: flex; gap: 1.2rem; flex-wrap: wrap; }
.players label { display: grid; gap: .2rem; font-size: .85rem; }
.pictures { display: flex; gap: .8rem; flex-wrap: wrap; margin-top: .8rem; }
figure { margin: 0; text-align: center; font-size: .8rem; }
figure img { width: 96px; height: 96px; border-radius: .4rem; border: 1px solid var(--edge); }
.timeline { margin-top: .9rem; font-size: .78rem; }
.row { display: grid; grid-template-columns: 8.2rem 1fr; align-items: center; }
.lane { position: relative; height: 1.6rem; border-bottom: 1px solid var(--soft); background:
  repeating-linear-gradient(90deg, var(--edge) 0 1px, transparent 1px var(--second)); }
.bar { position: absolute; top: .15rem; height: 1.3rem; border-radius: .25rem; color: #fff;
  overflow: hidden; white-space: nowrap; text-overflow: ellipsis; padding: 0 .3rem;
  box-sizing: border-box; line-height: 1.3rem; }
.bystander { background: #777; } .user { background: #2563a8; } .typed { background: #0e7490; }
.shown { background: #7c3aad; } .speech { background: #15803d; } .drawing { background: #b45309; }
"""


def write_viewer(folder: Path, scenes: Sequence[Scene]) -> Path:
    """Save every scene into `folder/scene-NNNN` and the page that shows them; the page's path.

    Raises:
        UserError: the folder cannot be written.
    """
    sections = []
    for index, scene in enumerate(scenes):
        name = f"scene-{index:04d}"
        save_scene(scene, folder / name)
        sections.append(_section(name, labels(scene)))
    page = folder / "index.html"
    body = "\n".join(sections) or "<p>There are no scenes.</p>"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        page.write_text(
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>Scenes</title>\n<style>{STYLE}</style></head>\n<body>\n"
            f"<h1>{len(scenes)} scenes of the synthetic world</h1>\n{body}\n</body></html>\n",
            encoding="utf-8",
        )
    except OSError as error:
        raise UserError(
            f"{page} cannot be written ({error.strerror}); choose another folder."
        ) from None
    return page


def _section(name: str, scene: dict[str, Any]) -> str:
    seconds = scene["num_steps"] / STEPS_PER_SECOND
    details = f"seed {scene['seed']}, {scene['split']}, {seconds:g} s"
    pictures = [(shown["picture"], f"shown: {shown['thing']}") for shown in scene["shown"]]
    pictures += [
        (reply["drawing"], f"drawn: {reply['thing']}")
        for reply in scene["replies"]
        if reply["drawing"]
    ]
    figures = "".join(
        f'<figure><img src="{name}/{file}" alt="{escape(text)}" loading="lazy">'
        f"<figcaption>{escape(text)}</figcaption></figure>"
        for file, text in pictures
    )
    return (
        f'<section id="{name}"><h2>{name}<small>{escape(details)} &middot; '
        f'<a href="{name}/scene.json">labels</a></small></h2>\n<div class="players">'
        f"{_player('microphone', f'{name}/user.wav')}"
        f"{_player('assistant', f'{name}/reply.wav')}</div>\n"
        + (f'<div class="pictures">{figures}</div>\n' if figures else "")
        + f"{_timeline(scene, seconds)}</section>"
    )


def _player(title: str, file: str) -> str:
    return f'<label>{title}<audio controls preload="none" src="{file}"></audio></label>'


def _timeline(scene: dict[str, Any], seconds: float) -> str:
    """One lane for each kind of happening that the scene has; grid lines mark seconds."""
    lanes: dict[str, list[str]] = {row: [] for row in ROWS}
    for row, start, end, text in _happenings(scene):
        width = max(end - start, SHORTEST_BAR)
        hint = f"{start:.2f}-{end:.2f} s: {text}"
        lanes[row].append(
            f'<div class="bar {row}" title="{escape(hint)}" '
            f'style="left:{100 * start / seconds:.2f}%;width:{100 * width / seconds:.2f}%">'
            f"{escape(text)}</div>"
        )
    drawn = "".join(
        f'<div class="row"><span>{ROWS[row]}</span><div class="lane">{"".join(bars)}</div></div>\n'
        for row, bars in lanes.items()
        if bars
    )
    return f'<div class="timeline" style="--second:{100 / seconds:.3f}%">\n{drawn}</div>'


def _happenings(scene: dict[str, Any]) -> Iterable[tuple[str, float, float, str]]:
    """(row, start, end, text), times in seconds."""
    for line in scene["lines"]:
        yield line["speaker"], line["start_seconds"], line["end_seconds"], line["text"]
    for row, key, text in (("typed", "typed", "text"), ("shown", "shown", "thing")):
        for entry in scene[key]:
            start = entry["step"] / STEPS_PER_SECOND
            yield row, start, start + 1 / STEPS_PER_SECOND, entry[text]
    for reply in scene["replies"]:
        start = reply["step"] / STEPS_PER_SECOND
        yield "speech", start, start + reply["seconds"], reply["text"]
        if reply["drawing"]:
            yield "drawing", start, start + reply["drawing_seconds"], reply["thing"]
