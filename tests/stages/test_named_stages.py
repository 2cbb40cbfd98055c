"""What a stage takes from earlier ones: of the right kind, or told before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from mistakes import check_told

from quintet.stages.recipe import MAKERS, NAMED, RECIPES, STAGES, Recipe

TINY = (RECIPES / "tiny.toml").read_text(encoding="utf-8")
STAGE = 'name = "{}"'
AUDIO, MODEL, OF = 'audio = "audio_decoder"', 'model = "average"', 'of = ["realtime", "prefer"]'
# What would do, of the transformer, of the codec, and of the first stage of a kind.
FIRST = "transformer; use one of: pretrain, audio, unf"
CODECS = "codec; use one of: audio_tokenizer"
NONE = "use one of: none, as there is none before it"
CODEC = 'name = "codec"\nstage = "audio_tokenizer"'
REFINED = """[[stages]]
name = "audio_decoder"
train = { steps = 1, batch_size = 1 }
"""
AGAIN = """name = "again"
stage = "{}"
start_from = "{}"
[stages.train]
[[stages]]
name = "judges\""""


def test_every_stage_that_is_named_makes_one_thing() -> None:
    makers = [stage for stages in MAKERS.values() for stage in stages]
    assert len(makers) == len(set(makers)) and set(makers) < set(STAGES)
    assert set(NAMED.values()) - {None} < set(MAKERS)


@pytest.mark.parametrize(
    ("right", "setting", "name", "told"),
    [
        (STAGE.format("describe"), "start_from", "documents", FIRST),
        (STAGE.format("describe"), "start_from", "audio_tokenizer", FIRST),
        (STAGE.format("audio_tokenizer"), "start_from", "text_tokenizer", f"codec; {NONE}"),
        (STAGE.format("audio_decoder"), "start_from", "image_tokenizer", CODECS),
        (STAGE.format("audio_decoder"), "start_from", "describe", CODECS),
        (STAGE.format("image_tokenizer"), "start_from", "audio_tokenizer", f"tokenizer; {NONE}"),
        (AUDIO, "audio", "image_tokenizer", f"{CODECS}, audio_decoder"),
        (AUDIO, "audio", "realtime", f"{CODECS}, audio_decoder"),
        (MODEL, "model", "judges", FIRST),
        (MODEL, "model", "audio_decoder", FIRST),
        (OF, "of", "judges", FIRST),
        (STAGE.format("describe"), "documents", "realtime", "samples; use one of: documents"),
        (STAGE.format("describe"), "documents", "pretrain", "samples; use one of: documents"),
    ],
)
def test_a_stage_of_another_kind_is_told(
    right: str, setting: str, name: str, told: str, tmp_path: Path
) -> None:
    """Each is an earlier stage, but makes something else."""
    wrong = f'{setting} = ["realtime", "{name}"]' if setting == "of" else f'{setting} = "{name}"'
    if setting in ("start_from", "documents"):
        wrong = f"{right}\n{wrong}"
    told = f"has {setting} = '{name}', which is no earlier stage of the .*{told}"
    check_told(TINY, right, wrong, told, tmp_path)


def test_so_are_pairs_of_a_stage_that_makes_none(tmp_path: Path) -> None:
    shards = "shards = { preferences = 2, realtime = 1 }"
    wrong = 'shards = { realtime = 1 }\npairs = "documents"'
    told = (
        "has pairs = 'documents', which is no earlier stage of the pairs; use one of: own_answers"
    )
    check_told(TINY, shards, wrong, told, tmp_path)


def test_so_is_one_that_only_has_the_name_of_the_usual_start(tmp_path: Path) -> None:
    text = TINY.replace('name = "transcribe"', 'name = "listen"\nstage = "transcribe"')
    wrong = 'name = "transcribe"\nstage = "text_tokenizer"'
    told = "'describe' has start_from = 'transcribe', which is .*of the transformer; use one of: "
    check_told(text, 'name = "text_tokenizer"', wrong, told, tmp_path)


def test_so_are_the_stages_that_one_takes_unless_told_otherwise(tmp_path: Path) -> None:
    codec = TINY.replace(STAGE.format("audio_tokenizer"), CODEC)
    told = "'audio_decoder' has start_from = 'audio_tokenizer', which is .*; use one of: codec"
    check_told(codec, AUDIO, "", told, tmp_path)
    decoder = STAGE.format("audio_decoder")
    codec = codec.replace(decoder, f'{decoder}\nstart_from = "codec"')
    told = "'release' has audio = 'audio_tokenizer', which is .*; use one of: codec, audio_dec"
    check_told(codec, AUDIO, "", told, tmp_path)
    alone = (
        'preset = "nano"\ntokenizers = "nano"\n[[stages]]\nname = "release"\nmodel = "further"\n'
    )
    told = "'release' has model = 'realtime', which is no earlier stage of the transformer"
    check_told(alone, 'model = "further"', "", told, tmp_path)


def test_tokenizers_that_the_recipe_takes_need_no_stage(tmp_path: Path) -> None:
    text = (RECIPES / "further.toml").read_text(encoding="utf-8")
    (tmp_path / "mine.toml").write_text(f"{text}\n{REFINED}", encoding="utf-8")
    *_, release, decoder = Recipe.load(str(tmp_path / "mine.toml"), tmp_path).stages
    assert (release.name, decoder.name) == ("release", "audio_decoder")


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (STAGE.format("describe"), 'name = "describe"\nstart_from = "pretrain"'),
        (STAGE.format("audio_decoder"), 'name = "audio_decoder"\nstart_from = "audio_tokenizer"'),
        (STAGE.format("judges"), AGAIN.format("audio_tokenizer", "audio_decoder")),
        (STAGE.format("judges"), AGAIN.format("audio_decoder", "audio_decoder")),
        (STAGE.format("judges"), AGAIN.format("image_tokenizer", "image_tokenizer")),
        (AUDIO, 'audio = "audio_tokenizer"'),
        (MODEL, 'model = "scripts"'),
        (OF, 'of = ["pretrain", "realtime"]'),
    ],
)
def test_every_maker_of_it_may_be_named(right: str, wrong: str, tmp_path: Path) -> None:
    assert right in TINY
    (tmp_path / "mine.toml").write_text(TINY.replace(right, wrong, 1), encoding="utf-8")
    assert Recipe.load(str(tmp_path / "mine.toml"), tmp_path).stages
