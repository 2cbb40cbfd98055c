"""The README says what is so: its scores are the report's, its commands exist."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from quintet.cli import commands
from quintet.tokenizers.folders import BUNDLED

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
REPORT = BUNDLED / "nano" / "report.json"
# What the table calls a score -> its name in the report.
SCORES = {
    "names what you show, asked by voice": "names_shown_asked_by_voice",
    "names what you show, asked by text": "names_shown_asked_by_text",
    "names it aloud, asked by voice": "names_shown_aloud_asked_by_voice",
    "draws what you ask for by voice": "draws_asked_by_voice",
    "draws what you ask for by text": "draws_asked_by_text",
    "says the word, asked by voice": "says_word_asked_by_voice",
    "the same, to a recognizer made elsewhere": "says_word_asked_by_voice_second_recognizer",
    "says the word, asked by text": "says_word_asked_by_text",
    "repeats a sentence, every word right": "repeats_in_exact_words",
    "counts as far as asked": "counts_in_exact_words",
    "greets with the right answer": "greets_in_exact_words",
    "silent throughout, nothing asked": "silent_when_nothing_asked",
    "steps with false speech, nothing asked": "false_speech_steps_nothing_asked",
    "talks over a spoken request": "talks_over_spoken_requests",
}


def score_row(label: str, score: dict[str, Any]) -> str:
    """A line of the README's table."""
    value, low, high = (f"{100 * score[key]:.0f}" for key in ("value", "low", "high"))
    chance = "" if score["chance"] is None else f"{100 * score['chance']:.0f} %"
    return f"| {label} | {value} % | {low}-{high} | {score['n']:,} | {chance} |"


@pytest.mark.parametrize("label", SCORES)
def test_scores_are_those_of_the_report(label: str) -> None:
    report = json.loads(REPORT.read_text(encoding="utf-8"))
    assert score_row(label, report["scores"][SCORES[label]]) in README


def test_commands_exist() -> None:
    named = set(re.findall(r"quintet ([a-z]+)", README)) & set(commands.commands)
    assert named == set(commands.commands)  # each is told
    assert set(re.findall(r"`quintet ([a-z]+)", README)) <= named  # and no other
