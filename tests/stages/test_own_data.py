"""From a folder of a person's own data to a model that is served, as docs/data.md tells it."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import needs_world, run
from mistakes import check_told

import quintet
from quintet.config import SAMPLE_RATE, UserError, load_preset
from quintet.data.shards import ShardIndex
from quintet.media.speech import Voice, synthesize
from quintet.stages.recipe import RECIPES, Recipe
from quintet.tokenizers.bundle import Tokenizers

DOCS = Path(__file__).parent.parent.parent / "docs" / "data.md"
PRESET = """
name = "small"
[model]
d_model = 48
d_position = 8
d_time = 8
num_layers = 1
num_heads = 3
num_kv_heads = 1
d_feed_forward = 64
[live]
max_rows = 1024
"""
WORDS = "There was a river, and the river ran to the sea; nobody knew how long. "


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> Path:
    """A folder with raw data, shards of it, and the recipe of the documentation at tiny size."""
    pytest.importorskip("silero_vad")
    import soundfile
    from PIL import Image

    place = tmp_path_factory.mktemp("own")
    raw, rng = place / "raw", np.random.default_rng(0)
    raw.mkdir()
    (raw / "story.txt").write_text(WORDS * 60, encoding="utf-8")
    for index in range(3):
        pixels = rng.integers(0, 255, (20, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(raw / f"{index}.png")
        (raw / f"{index}.txt").write_text("noise.", encoding="utf-8")
    said = [np.pad(synthesize(WORDS[:40], Voice("en-us", pitch=30 + p)), SAMPLE_RATE // 2)
            for p in range(12)]  # fmt: skip
    soundfile.write(raw / "talk.flac", 0.8 * np.concatenate(said), SAMPLE_RATE)
    assert run("tokenize", raw, "--out", place / "shards", "--model", model_folder,
               "--processes", 1, "--rows", 128) == 0  # fmt: skip
    (place / "small.toml").write_text(PRESET)
    recipe = re.search(r"```toml\n(preset.*?)```", DOCS.read_text(encoding="utf-8"), re.S)
    assert recipe is not None
    text = recipe[1].replace('tokenizers = "nano"', f'tokenizers = "{model_folder}"')
    text = text.replace('preset = "nano"', 'preset = "small.toml"').replace("2000", "3")
    text = text.replace("batch_size = 16", "batch_size = 2")
    (place / "mine.toml").write_text(text)
    return place


@needs_world
def test_own_data_becomes_a_model_that_is_served(
    place: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    assert run("train", "mine.toml") == 0
    model = quintet.load(place / "runs" / "mine" / "release" / "model")
    sizes, tokenizers = Tokenizers.of_model(str(model_folder))
    assert model.tokenizers.fingerprint() == tokenizers.fingerprint()
    assert model.config.audio == sizes.audio and model.config.model.num_layers == 1
    assert "never taught to answer" in model.card and "synthetic" not in model.card
    model.chat([{"role": "user", "content": "hello."}])
    with model.session() as session:
        assert len(session.step(np.zeros(6_000, np.float32)).audio) == 6_000
    for stage in ("pretrain", "audio", "unfrozen"):
        lines = (place / "runs" / "mine" / stage / "log.jsonl").read_text().splitlines()
        steps = [json.loads(line) for line in lines if "loss" in json.loads(line)]
        assert len(steps) == 3 and all(0 <= step["waiting"] < 1 for step in steps)


MISTAKES = [
    ('"shards/pretrain" = 1.0 }', '"nowhere" = 1.0 }', "nowhere holds no finished shards"),
    ('"shards/pretrain" = 1.0 }', '"shards" = 1.0 }', "several kinds"),
    ('"shards/pretrain" = 1.0 }', '"shards/audio" = 1.0 }', "does not train on 'audio'"),
    ('"shards/pretrain" = 1.0 }', '"shards/pretrain" = "x" }', "make it a table of numbers"),
    ('"shards/pretrain" = 1.0 }', '"shards/pretrain" = 0.0 }', "without weight"),
    ('"shards/pretrain" = 1.0 }', "}", "without weight, or none at all"),
    ("batch_size = 2", "batch_size = 200", "too small to keep a batch of 200"),
    (
        'name = "pretrain"',
        'name = "text_tokenizer"\n[[stages]]\nname = "pretrain"',
        "leave out one",
    ),
    ('about = "', 'sources = { "shards/audio" = 1.0 }\nabout = "', "does not have it"),
]


@needs_world
@pytest.mark.parametrize(("right", "wrong", "told"), MISTAKES)
def test_a_mistake_with_sources_is_told_before_anything_runs(
    right: str, wrong: str, told: str, place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(place)
    check_told((place / "mine.toml").read_text(), right, wrong, told, tmp_path)


@needs_world
def test_shards_of_other_tokenizers_are_refused(
    place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(place / "shards", copy / "shards")
    for path in (copy / "shards").glob("*/index.json"):
        path.write_text(re.sub(r'"tokenizers": "\w+"', '"tokenizers": "f00"', path.read_text()))
    shutil.copy(place / "small.toml", copy)
    monkeypatch.chdir(copy)
    with pytest.raises(UserError, match="made with other tokenizers"):
        Recipe.load(str(place / "mine.toml"), tmp_path / "runs")


OWN = """[[stages]]
name = "own"
stage = "unfrozen"
start_from = "nano"
sources = {{ "{folder}" = 1.0 }}
[stages.train]
steps = 2
batch_size = 2

"""


def test_a_stage_with_sources_needs_none_of_the_documents_before_it(tmp_path: Path) -> None:
    """Which of the kinds that it trains on have no shards."""
    own = tmp_path / "shards" / "pretrain"
    own.mkdir(parents=True)
    _, tokenizers = Tokenizers.of_model("nano")
    ShardIndex(own, "pretrain", tokenizers.fingerprint(), ("0.safetensors",), (900,), 900).write()
    further = '[[stages]]\nname = "further"'
    before, after = (RECIPES / "further.toml").read_text(encoding="utf-8").split(further)
    after = further + after.replace('start_from = "nano" ', 'start_from = "own" ')
    recipe = tmp_path / "mine.toml"
    recipe.write_text(before + OWN.format(folder=own) + after, encoding="utf-8")
    names = [stage.name for stage in Recipe.load(str(recipe), tmp_path / "runs").stages]
    assert names == ["documents", "own", "further", "release"]
    without = OWN.replace("sources", "# sources").format(folder=own)
    told = "'own' keeps 256 samples out of training and has 0 of 'unfrozen'"
    check_told(before + without + after, "steps = 2", "steps = 2", told, tmp_path)


def test_the_recipes_of_the_documentation_fit_together(tmp_path: Path) -> None:
    """Also the longer one, without its sources: these are a person's own."""
    first, second = re.findall(r"```toml\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.S)
    before, release = first.split('[[stages]]\nname = "release"')
    text = before + second + '[[stages]]\nname = "release"' + release
    text = re.sub(r"sources = .*\n", "", text).replace('model = "unfrozen"', 'model = "realtime"')
    (tmp_path / "mine.toml").write_text(text)
    recipe = Recipe.load(str(tmp_path / "mine.toml"), tmp_path)
    assert [stage.name for stage in recipe.stages][-3:] == ["instruct", "realtime", "release"]
    assert recipe.stages[0].preset.model == load_preset("nano").model


def test_the_recipe_for_one_gpu_is_read(tmp_path: Path) -> None:
    """Without its sources, which are a person's own."""
    page = (DOCS.parent / "many-devices.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```toml\n(.*?)```", page, re.S)
    (tmp_path / "mine.toml").write_text(re.sub(r"sources = .*\n", "", text))
    recipe = Recipe.load(str(tmp_path / "mine.toml"), tmp_path)
    small, nano = load_preset("small"), load_preset("nano")
    for stage in recipe.stages:
        assert (stage.preset.model, stage.preset.image) == (small.model, nano.image)
    train = recipe.stages[0].train
    assert (train.packed_rows, train.precision) == (8_192, "bfloat16")
