"""What preferences change: nano before and after the stage `prefer`, on held-out live scenes.

The bundled weights are the starting model, and the frozen reference. Pairs are made from live
scenes and conversations of the synthetic world. Before and after, the same scenes, of voices,
backgrounds and sizes that training never saw:

    unasked       scenes of other people's talk or of nothing, one forward pass each: the share in
                  which no step has anything likelier than silence. As nothing is ever said in
                  them, this is what a session at temperature 0 does
    by itself     live scenes of all kinds, judged by the model's own predictions of what happened,
                  as in benchmarks.ablations
    report card   scenes through sessions with the same seeds, as in `quintet eval`

    python -m benchmarks.preference [--pairs N] [--steps N] [--rate R] [--set NAME=VALUE ...]

`--set` changes a setting of the loss: beta, label_smoothing, ipo, length_normalized, sft_weight,
keep_weight; with this, other documents are made in which the answers should stay as they are.
What was made and measured before in the folder is kept.
"""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path
from typing import Any

import click
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

import quintet
from benchmarks import as_command
from benchmarks.ablations import judge
from quintet.config import OmniConfig, UserError, from_dict
from quintet.data.scene_rows import SceneEncoder
from quintet.data.shards import load_samples
from quintet.data.world.scenes import make_scene
from quintet.data.world.seeds import SEEDS, SEEDS_OF_A_KIND
from quintet.evals.judging import Judges
from quintet.evals.report import SCENES, play, score_all
from quintet.evals.scores import share
from quintet.live import Quintet
from quintet.model.log_probs import possible_logits
from quintet.model.omni import Batch
from quintet.stages import documents, prefer
from quintet.stages.context import MODEL_FILE, Context
from quintet.stages.documents import shard_path
from quintet.tokenizers.folders import AUDIO_FILE, BUNDLED, IMAGE_FILE, TEXT_FILE, read_config
from quintet.tokenizers.weight_files import load_weights

NANO = BUNDLED / "nano"
FILES = {
    "text_tokenizer": TEXT_FILE, "audio_tokenizer": AUDIO_FILE, "image_tokenizer": IMAGE_FILE,
    "realtime": MODEL_FILE,
}  # fmt: skip
SHARD = 250
KEPT = {"realtime": 4, "encounters": 4, "instruct": 4}  # shards in which answers should stay
UNASKED = ("chatter", "quiet")
HIGHER_IS_BETTER = (
    "silent_when_nothing_asked", "answers_at_all",
    "names_shown_asked_by_voice", "names_shown_asked_by_text",
    "draws_asked_by_voice", "draws_asked_by_text",
    "says_word_asked_by_voice", "says_word_asked_by_text",
    "repeats_in_exact_words", "counts_in_exact_words", "greets_in_exact_words",
    "tells_yes_from_no_in_exact_words",
)  # fmt: skip
LOWER_IS_BETTER = (
    "false_speech_steps_nothing_asked", "false_speech_steps_between_requests",
    "talks_over_spoken_requests", "answer_delay_seconds", "word_error_rate_of_speech",
)  # fmt: skip


def run_folder(out: Path) -> OmniConfig:
    """nano's parts in the places where stages look for them; its configuration."""
    for stage, file in FILES.items():
        (out / stage).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(NANO / file, out / stage / file)
    return from_dict(OmniConfig, read_config(NANO), str(NANO))


def train(preset: OmniConfig, out: Path, name: str, pairs: int, settings: dict[str, Any]) -> None:
    """Make the pairs, as far as they are missing, and train on them."""
    shards = {"preferences": -(-pairs // SHARD), "realtime_test": 1}
    if settings.get("keep_weight"):
        shards |= KEPT
    made = {"shards": shards, "shard_size": SHARD, "pictures_each": 20, "processes": 1}
    documents.run(Context("documents", preset, made, out))
    scores = prefer.run(Context(name, preset, settings | {"shards": shards}, out))
    Console().print({key: round(value, 4) for key, value in scores.items()})


def measure(weights: Path | None, kept: Path, unasked: int, scenes: int) -> dict[str, Any]:
    """All scores of nano, with other weights if there are any."""
    if kept.exists():
        scores: dict[str, Any] = json.loads(kept.read_text())
        return scores
    model = quintet.load("nano")
    if weights is not None:
        load_weights(model.model, weights)
    held_out = load_samples(shard_path(kept.parent.parent / "documents", "realtime_test", 0))
    scores = {
        "silent": silent_throughout(model, unasked),
        "itself": judge(model.model, held_out),
        "card": report_card(model, scenes) if scenes else {},
    }
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(scores, indent=1) + "\n")
    return scores


@torch.no_grad()
def silent_throughout(model: Quintet, count: int) -> list[bool]:
    """Of `count` scenes in which nothing is asked, which the model would be silent in."""
    encoder, omni, silent = SceneEncoder(model.config, model.tokenizers), model.model, []
    for index in track(range(count), "unasked", transient=True):
        kind = list(SCENES).index(UNASKED[index % len(UNASKED)])
        seed = SEEDS["eval"][kind * SEEDS_OF_A_KIND + index // len(UNASKED)]  # as in `quintet eval`
        scene = make_scene(seed, "test", kinds=SCENES[UNASKED[index % len(UNASKED)]])
        assert not scene.replies
        batch = Batch.from_samples([encoder.sample(scene)], model.config.live.window_steps)
        text_NV, audio_MSR = possible_logits(omni, batch)
        quiet = (text_NV.argmax(-1) == omni.vocabulary.text_no_output).all()
        # Of sound too the likeliest: nano's sessions sample it, but at a low temperature.
        quiet &= (audio_MSR[:, 0].argmax(-1) == omni.audio_head.radix).all()
        silent.append(bool(quiet))
    return silent


def report_card(model: Quintet, scenes: int) -> dict[str, Any]:
    scores = score_all(play(model, scenes, seed=0), Judges())
    return {name: score.to_dict() for name, score in scores.items()}


def show(before: dict[str, Any], after: dict[str, Any]) -> Table:
    table = Table("score", "before", "after", "n")
    both = list(zip(before["silent"], after["silent"], strict=True))
    shares = [share(map(bool, one["silent"])).to_dict() for one in (before, after)]
    table.add_row("silent, nothing asked (up)", *map(_cell, shares), str(len(both)))
    mended, spoiled = both.count((False, True)), both.count((True, False))
    table.caption = f"Of {len(both)} scenes without a request {mended} mended, {spoiled} spoiled."
    for name in ("starts", "words", "false", "frame"):
        table.add_row(
            f"by itself: {name}", f"{before['itself'][name]:.4f}", f"{after['itself'][name]:.4f}"
        )
    for better, names in (("up", HIGHER_IS_BETTER), ("down", LOWER_IS_BETTER)):
        for name in [name for name in names if name in before["card"] and name in after["card"]]:
            first, second = before["card"][name], after["card"][name]
            table.add_row(f"{name} ({better})", _cell(first), _cell(second), str(second["n"]))
    return table


def _cell(score: dict[str, Any]) -> str:
    if score["value"] is None:
        return "-"
    return f"{score['value']:.3f} ({score['low']:.3f}-{score['high']:.3f})"


def _loss_settings(changes: tuple[str, ...]) -> dict[str, Any]:
    try:
        values = tomllib.loads("\n".join(changes))
    except tomllib.TOMLDecodeError:
        raise UserError("A setting is no NAME=VALUE; write --set beta=0.1, for instance.") from None
    if unknown := sorted(set(values) - set(prefer.LOSS_SETTINGS)):
        raise UserError(
            f"There is no setting {unknown[0]!r}; use {', '.join(prefer.LOSS_SETTINGS)}."
        )
    return values


@click.command()
@click.option("--pairs", default=2_000, show_default=True)
@click.option("--steps", default=600, show_default=True)
@click.option("--rate", default=2e-5, show_default=True, help="Learning rate.")
@click.option("--unasked", default=400, show_default=True, help="Scenes without a request.")
@click.option("--scenes", default=20, show_default=True, help="Of each kind, for the report card.")
@click.option("--name", default="prefer", show_default=True, help="Of the run in the folder.")
@click.option("--set", "changes", multiple=True, metavar="NAME=VALUE")
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/preference"))
def main(
    pairs: int, steps: int, rate: float, unasked: int, scenes: int, name: str,
    changes: tuple[str, ...], out: Path,
) -> None:  # fmt: skip
    """Train nano on preferences, and print its scores before and after."""
    torch.set_num_threads(1)
    preset = run_folder(out)
    table = {
        "steps": steps, "batch_size": 8, "learning_rate": rate, "warmup_steps": 30,
        "decay_fraction": 0.5, "weight_decay": 0.0, "evaluate_every": 100,
    }  # fmt: skip
    train(preset, out, name, pairs, {"train": table, **_loss_settings(changes)})
    kept = f"scores-{unasked}-{scenes}.json"
    before = measure(None, out / "before" / kept, unasked, scenes)
    after = measure(out / name / MODEL_FILE, out / name / kept, unasked, scenes)
    Console(width=110).print(show(before, after))


if __name__ == "__main__":
    as_command(main)
