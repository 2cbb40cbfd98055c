"""Writes what pages of the docs and the README take from the code: `python -m scripts.write_docs`.

    <!-- made: NAME ARGUMENT -->
    ... is written by the function NAME of the table `BLOCKS`, called with ARGUMENT ...
    <!-- /made -->

A test compares, so that no page goes stale.
"""

from __future__ import annotations

import ast
import copy
import importlib
import json
import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import torch

import quintet
from quintet.cli import commands
from quintet.config import STEPS_PER_SECOND, OmniConfig, from_dict
from quintet.model.omni import Omni
from quintet.stages.recipe import RECIPES, STAGES, TRANSFORMER_STAGES
from quintet.tokenizers.folders import BUNDLED, read_config
from scripts import settings_tables

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
PACKAGE = Path(quintet.__file__).parent
MARKED = re.compile(r"(<!-- made: (\w+) ?([\w.-]*) -->\n).*?(<!-- /made -->)", re.DOTALL)
TABLE = re.MULTILINE | re.DOTALL
# What the README calls a score -> its name in the report.
SCORES = {
    "names what you show, asked by voice": "names_shown_asked_by_voice",
    "names what you show, asked by text": "names_shown_asked_by_text",
    "names it aloud, asked by voice": "names_shown_aloud_asked_by_voice",
    "draws what you ask for by voice": "draws_asked_by_voice",
    "draws what you ask for by text": "draws_asked_by_text",
    "says the word, asked by voice": "says_word_asked_by_voice",
    "the same, to a recognizer made elsewhere": "says_word_asked_by_voice_second_recognizer",
    "says the word, asked by text": "says_word_asked_by_text",
    "is this a cat? yes or no, and what it is": "tells_yes_from_no_in_exact_words",
    "how many do you see? of up to five": "counts_shown_asked_by_voice",
    "repeats a sentence, every word right": "repeats_in_exact_words",
    "counts as far as asked": "counts_in_exact_words",
    "greets with the right answer": "greets_in_exact_words",
    "silent throughout, nothing asked": "silent_when_nothing_asked",
    "steps with false speech, nothing asked": "false_speech_steps_nothing_asked",
    "talks over a spoken request": "talks_over_spoken_requests",
    "answers when it is its turn": "turn_taking_take_over_rate",
    "breaks into a pause": "pause_handling_take_over_rate",
    "stops when interrupted": "user_interruption_obeyed",
    "goes on when somebody says mm-hm": "user_backchannel_goes_on",
    "tells when it sees what it watches for": "watching_told",
    "tells it of something else": "watching_false_alarms",
    "wrong words in live dictation, in a quiet room": "live_transcription_word_error_rate",
    "the same in noise, 10 dB below the voice": "live_transcription_word_error_rate_10_db",
    "wrong words in a recording, written down in a message": "messages_transcribed_word_error_rate",
    "draws what a recording asks for, in a message": "messages_draw_asked_by_voice",
    "wrong words in its speech": "word_error_rate_of_speech",
    "answers rightly in a voice that has a name": "answers_in_exact_words_as_named_speaker",
    "steps with output then, nothing asked": "false_output_steps_as_named_speaker",
    "wrong words in a voice that has a name": "word_error_rate_of_speech_as_named_speaker",
    "is nearer to that voice than to its own": "nearer_to_named_speaker_than_to_own_voice",
    "wrong words in a voice it only heard now": "word_error_rate_of_speech_as_unheard_speaker",
    "is nearer to that one than to its own": "nearer_to_unheard_speaker_than_to_own_voice",
}


def scores(model: str) -> str:
    """The scores of a bundled model's report, as a table."""
    report = json.loads((BUNDLED / model / "report.json").read_text(encoding="utf-8"))
    lines = [f"| {model} | share | 95 % interval | cases | guessing |", "|---|---|---|---|---|"]
    for label, name in SCORES.items():
        lines.append(_score(label, report["scores"][name]))
    return "\n".join(lines)


def _score(label: str, score: dict[str, Any]) -> str:
    value, low, high = (f"{100 * score[key]:.0f}" for key in ("value", "low", "high"))
    if value in ("0", "100"):  # hardly ever is not never
        value = f"{100 * score['value']:.1f}".removesuffix(".0")
    chance = "" if score["chance"] is None else f"{100 * score['chance']:.0f} %"
    return f"| {label} | {value} % | {low}-{high} | {score['n']:,} | {chance} |"


def about(model: str) -> str:
    """The sizes of a bundled model, in a sentence."""
    folder = BUNDLED / model
    config = from_dict(OmniConfig, read_config(folder), str(folder))
    with torch.device("meta"):
        millions = sum(p.numel() for p in Omni(config).parameters()) / 1e6
    size, seconds = config.image.size, config.live.window_steps / STEPS_PER_SECOND
    return (
        f"`{model}` has {millions:.1f} million parameters, hears and speaks at "
        f"{config.audio.bits_per_second:,.0f} bit/s, sees and draws {size} x {size} pixels, and "
        f"looks back {seconds:g} seconds."
    )


def command_help(_: str) -> str:
    """What every command says to `--help`."""
    parts = []
    whole = click.Context(commands, info_name="quintet", help_option_names=["-h", "--help"])
    for name, command in commands.commands.items():
        command = copy.copy(command)
        command._help_option = None  # click keeps the one that another context has made
        # The width is given, so that the text is the same in every terminal.
        with click.Context(command, whole, name, terminal_width=88) as context:
            parts.append(f"## {name}\n\n```text\n{command.get_help(context)}\n```")
    return "\n\n".join(parts)


def files(room: str) -> str:
    """The files of a room, each with the first sentence of what it says of itself."""
    lines = ["| file | what it is |", "|---|---|"]
    folder = PACKAGE / room
    for path in sorted(folder.rglob("*.py")):
        if path.name != "__init__.py":
            lines.append(f"| `{path.relative_to(folder)}` | {_first_sentence(path)} |")
    return "\n".join(lines)


def _first_sentence(path: Path) -> str:
    told = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert told, f"{path} does not say what it is"
    paragraph = " ".join(told.split("\n\n")[0].split())
    return re.split(r"\.(?: (?=[A-Z])|$)", paragraph)[0].replace("|", "\\|")


def tree(_: str) -> str:
    """Every file of the package that is code, below its room, with what it says of itself."""
    lines = []
    for folder in sorted({path.parent for path in PACKAGE.rglob("*.py")}):
        inside = folder.relative_to(PACKAGE.parent)
        paths = [path for path in sorted(folder.glob("*.py")) if path.name != "__init__.py"]
        width = max((len(path.name) for path in paths), default=0)
        lines.append(f"{inside}/")
        lines += [f"    {path.name:{width}}  {_first_sentence(path)}" for path in paths]
    return "\n".join(["```text", *lines, "```"])


def stages(_: str) -> str:
    """Every stage with the link to its page and where it starts from."""
    lines = ["| stage | what it is | starts from |", "|---|---|---|"]
    for name in STAGES:
        told = _first_sentence(PACKAGE / "stages" / f"{name}.py").partition(": ")[2]
        start = f"`{_start_of(name)}`" if _start_of(name) else ""
        lines.append(f"| [`{name}`](stages/{name}.md) | {told} | {start} |")
    return "\n".join(lines)


def stage(name: str) -> str:
    """What a stage's file says of itself, where it starts from, and on how many devices it runs."""
    start = _start_of(name)
    begins = f" Starts from `{start}`, unless `start_from` names another stage." if start else ""
    runs = "on one device, or with torchrun on [many](../many-devices.md)"
    where = runs if name in TRANSFORMER_STAGES else "in one process"
    if "processes" in importlib.import_module(f"quintet.stages.{name}").SETTINGS:
        where = "in as many processes as the setting says"
    file = PACKAGE / "stages" / f"{name}.py"
    return f"{_first_sentence(file)}.\n\nCode: `quintet/stages/{name}.py`.{begins} Runs {where}."


def _start_of(name: str) -> str:
    return str(getattr(importlib.import_module(f"quintet.stages.{name}"), "START", ""))


def stage_in_recipe(name: str) -> str:
    """A stage's table in the recipe `tiny`, as it stands there."""
    recipe = (RECIPES / "tiny.toml").read_text(encoding="utf-8")
    (table,) = re.findall(rf'^(\[\[stages\]\]\nname = "{name}"\n.*?)(?:\n\n|\Z)', recipe, TABLE)
    return f"```toml\n{table.rstrip()}\n```"


def imports(room: str) -> str:
    """What a room may import, from the table that the test holds."""
    table = runpy.run_path(str(ROOT / "tests" / "test_imports.py"))["MAY_IMPORT"]
    allowed = [f"`{name}`" for name in sorted(table[room])]
    return f"May import: {', '.join(allowed) or 'nothing of ours'}."


BLOCKS: dict[str, Callable[[str], str]] = {
    "about": about,
    "scores": scores,
    "help": command_help,
    "files": files,
    "tree": tree,
    "imports": imports,
    "stages": stages,
    "stage": stage,
    "stage_in_recipe": stage_in_recipe,
    "stage_settings": settings_tables.of_stage,
    "shared_settings": lambda _: settings_tables.of_shared(),
    "training_settings": lambda _: settings_tables.of_training(),
    "presets": lambda _: settings_tables.of_presets(),
}


def written(page: str) -> str:
    """A page's text with every marked block made anew."""
    return MARKED.sub(lambda m: f"{m[1]}\n{BLOCKS[m[2]](m[3])}\n\n{m[4]}", page)


def main() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        if (new := written(text)) != text:
            page.write_text(new, encoding="utf-8")
            print(f"written: {page.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
