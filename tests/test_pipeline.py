"""The whole pipeline at its smallest: every stage runs, each from what the last one made."""

from __future__ import annotations

import importlib
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import needs_world
from mistakes import check_told

import quintet
from quintet.config import UserError, load_preset
from quintet.stages import documents, judges
from quintet.stages.context import Context
from quintet.stages.recipe import RECIPES, STAGES, Recipe, is_finished, run_stage
from quintet.stages.record import alone
from quintet.tokenizers.text import TextTokenizer

OPTIONAL = {
    "audio_decoder",
    "own_answers",
    "prefer",
    "internalize",
    "think",
}  # stages that the bundled model went without
# No whole system from nothing.
PARTS = (
    "codec", "pictures-4k", "pictures-65k", "multiplication", "multiplication-2",
    "multiplication-4", "spelling", "further", "voices",
)  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny recipe, run from nothing."""
    runs = tmp_path_factory.mktemp("runs")
    for context in Recipe.load("tiny", runs).stages:
        run_stage(context)
    return runs


def test_recipes_name_every_stage_in_order() -> None:
    for path in RECIPES.glob("*.toml"):
        recipe = Recipe.load(str(path), Path("runs"))
        if path.stem not in PARTS:
            run = {context.settings["stage"] for context in recipe.stages}
            assert run == set(STAGES) or (run | OPTIONAL == set(STAGES) and path.stem != "tiny")
        names = [context.name for context in recipe.stages]
        assert len(names) == len(set(names))
        for place, context in enumerate(recipe.stages):
            module = importlib.import_module(f"quintet.stages.{context.settings['stage']}")
            start = context.settings.get("start_from", getattr(module, "START", None))
            assert start in names[:place] or start is None or context.model is not None
            assert start is None or "start_from" in module.SETTINGS


TYPING_MISTAKES = [
    ("shard_size", "shard_syze", "shard_syze.*'documents'.*shard_size"),
    ("pictures_each", "pictures_eech", "pictures_eech.*'documents'"),
    ("held_out = 8", "heldout = 8", "heldout.*'pretrain'.*held_out"),
    ("held_out = 8", 'start_from = "audio"', "start_from.*'pretrain'"),
    ("lines = 2000", "steps = 6", "steps.*'text_tokenizer'.*lines"),
    ("pretrain = 2", "pretrian = 2", "unknown kind 'pretrian'.*pretrain"),
    ("shards = { describe = 2", "shards = { descibe = 2", "unknown kind 'descibe'"),
    ("shards = { describe = 2", "shards = { describe = 3", "3 shards of 'describe'.* makes 2"),
    ("shards = { describe = 2, transcribe = 1 }", "shards = 2", "make it a table"),
    ('name = "describe"', 'name = "describe"\nstart_from = "nowhere"', "nowhere.*no earlier stage"),
    ('name = "describe"', 'name = "describe"\nstart_from = "realtime"', "no earlier stage"),
    ('name = "transcribe"', 'name = "listen"\nstage = "transcribe"', "'transcribe'.*; use one of"),
    ("utterances = 24", 'utterances = 24\nstart_from = "nano"', "'nano', .*; use one of"),
    ('name = "describe"', 'name = "describe"\nstart_from = "nano"', "set tokenizers = .nano"),
    ('name = "describe"', 'name = "pretrain"', "two stages 'pretrain'"),
    ('audio = "audio_decoder"', 'audio = "audio_decodr"', "audio_decodr.*no earlier stage"),
    ("recognizer = { steps = 2, batch_size = 2 }", "", "'judges' has no table 'recognizer'"),
    ("pictures = { steps = 2,", "pictures = { stepps = 2,", "'judges' does not say 'steps'"),
    ("pictures = { steps = 2,", "pictures = { steps = 2, stepps = 2,", "stepps.*TrainConfig"),
    ("sft_weight = 0.1", "beta = 0.0", "sets 'beta' to 0.0; make it .* above 0"),
    ("sft_weight = 0.1", "ipo = 1", "'prefer', sets 'ipo' to 1; make it true or false"),
    ('name = "realtime"', 'name = "live"\nstage = "realtime"', "'realtime'.*no earlier"),
    ("steps = 6", "", "does not say 'steps'"),
    ("steps = 6", "steps = 6\nstepps = 6", "stepps.*TrainConfig"),
    ("pages = 0.2", 'pages = "a"', "'image_tokenizer', sets 'pages' to 'a'; make it a number"),
    ("pages = 0.2", "photographs = true", "'photographs' to True; make it a number"),
    ("pages = 0.2", "photograph_folder = 3", "'photograph_folder' to 3; make it text in quotes"),
    ("pictures = 64", 'pictures = "many"', "'pictures' to 'many'; make it a whole number"),
    ("fill_at = 0.3", 'fill_at = "a"', "'audio_tokenizer', sets 'fill_at' to 'a'; make it a num"),
    ("every_voice = true", "every_voice = 1", "'every_voice' to 1; make it true or false"),
    ("windows = [512]", "windows = 512", "windows' to 512; make it a list of whole numbers"),
    ("pretrain = 2", "pretrain = true", "'documents', sets 'shards' .*a table of whole numbers"),
    ("lines = 12", "lines = 1.5", "'judges', sets 'lines' to 1.5; make it a whole number"),
    ('recipe = "tiny"', "recipe = 3", "'release', sets 'recipe' to 3"),
    ("recognizer = { steps = 2, batch_size = 2 }", "recognizer = 2", "'recognizer' to 2.* a table"),
    ("recognizer = { steps = 2,", "recognizer = { steps = 2.5,", "'steps' to 2.5; make it a whole"),
    ("steps = 6", 'steps = "many"', "'steps' to 'many'; make it a whole number"),
    (
        "steps = 6",
        'steps = 6\nprecision = "half"',
        "'half'; make it 'float32' or 'bfloat16' or 'auto'",
    ),
    ("steps = 6", "steps = 6\nbetas = [0.9]", "'betas' to .0.9.; make it a list of 2 numbers"),
    ("[train]", "[[train]]", "sets 'train' to .*; make it a table"),
]
# Of the right type, but of no sense.
SENSELESS = [
    ("steps = 6", "steps = 0", "'steps' to 0; make it a whole number of at least 1"),
    ("steps = 6", "steps = -6", "'steps' to -6; make it a whole number of at least 1"),
    ("batch_size = 4", "batch_size = 0", "'batch_size' to 0; make it .* at least 1"),
    ("batch_size = 4", "batch_size = 25", "'pretrain' has batch_size = 25 and 16 samples to train"),
    ("batch_size = 4", "batch_size = 9", "batch_size = 9 and 8 samples kept out of training"),
    ("batch_size = 4", "batch_size = 4\nlearning_rate = -1", "'learning_rate' to -1; .* above 0"),
    ("batch_size = 4", "batch_size = 4\nlearning_rate = 0.0", "'learning_rate' to 0.0"),
    ("batch_size = 4", "batch_size = 4\nbetas = [0.9, 1.0]", "2 numbers from 0 to below 1"),
    ("batch_size = 4", "batch_size = 4\nclip = 0", "'clip' to 0; make it a number above 0"),
    ("batch_size = 4", "batch_size = 4\nseed = -1", "'seed' to -1; make it a whole number from 0"),
    ("batch_size = 4", "batch_size = 4\nthreads = 0", "'threads' to 0"),
    ("batch_size = 4", "batch_size = 4\ndecay_fraction = 2", "'decay_fraction' to 2; .* 0 to 1"),
    ("batch_size = 4", "batch_size = 4\ntensor_parallel = 0", "'tensor_parallel' to 0"),
    ("batch_size = 4", "batch_size = 4\ntensor_parallel = 5", "5 and does not divide num_kv_heads"),
    (
        "batch_size = 4",
        "batch_size = 4\ntensor_parallel = 2\ncompile = true",
        "compile does not go",
    ),
    ("warmup_steps = 2", "warmup_steps = -1", "'warmup_steps' to -1; make it .* at least 0"),
    ("checkpoint_every = 2", "checkpoint_every = 0", "'checkpoint_every' to 0; make it .* least 1"),
    ("evaluate_every = 3", "evaluate_every = 0", "'evaluate_every' to 0; make it .* least 1"),
    ("packed_rows = 512", "packed_rows = -5", "'packed_rows' to -5; make it .* at least 0"),
    ("held_out = 8", "held_out = 0", "'held_out' to 0; make it a whole number of at least 1"),
    ("held_out = 8", "held_out = -1", "'held_out' to -1"),
    ("held_out = 8", "held_out = 1", "batch_size = 4 and 1 sample kept out of training"),
    ("held_out = 8", "held_out = 100000", "keeps 100,000 samples .* has 24 of 'pretrain'"),
    ("realtime_test = 1", "realtime_test = 0", "'realtime' .* and 0 samples kept out of training"),
    ("lines = 2000", "lines = 0", "'lines' to 0"),
    ("utterances = 24", "utterances = 0", "'utterances' to 0; make it .* at least 1"),
    ("utterances = 24", "utterances = 24\nclip_seconds = 0", "'clip_seconds' to 0; .* 0.1 to 60"),
    ("fill_at = 0.3", "fill_at = 0.95", "filled before step 6 and there are 6 steps"),
    (
        "adversarial_at = 0.6",
        "adversarial_at = 6",
        "'adversarial_at' to 6; make it a number from 0",
    ),
    ("windows = [512]", "windows = [0]", "a list of whole numbers from 16 to 16,384"),
    ("channels = 2", "channels = 0", "'discriminator_channels' to 0"),
    ("pictures = 64", "pictures = 0", "'pictures' to 0; make it a whole number of at least 1"),
    ("held_out_pictures = 4", "held_out_pictures = 0", "'held_out_pictures' to 0"),
    ("largest = 48", "largest = 23", "largest is 23 .* at least 24"),
    ("pages = 0.2", "pages = 7", "'pages' to 7; make it a number from 0 to below 1"),
    ("pages = 0.2", "pages = 0.6\nplain = 0.6", "their sum must be below 1"),
    ("pages = 0.2", "small_text = 0.0", "'small_text' to 0.0; make it a number from 0.1 to 10"),
    ("shard_size = 12", "shard_size = 0", "'shard_size' to 0"),
    ("pretrain = 2", "pretrain = -2", "a table of whole numbers of at least 0"),
    ("pictures_each = 1", "pictures_each = 0", "'pictures_each' to 0"),
    ("processes = 1", "processes = 0", "'processes' to 0"),
    ("windowed = true", "text_weight = 0.0", "'text_weight' to 0.0; make it a number above 0"),
]


@pytest.mark.parametrize(("right", "wrong", "told"), TYPING_MISTAKES + SENSELESS)
def test_a_typing_mistake_is_told_before_anything_runs(
    right: str, wrong: str, told: str, tmp_path: Path
) -> None:
    text = (RECIPES / "tiny.toml").read_text(encoding="utf-8")
    check_told(text, right, wrong, told, tmp_path)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("digits = 2", "digits = 10"),
        ("steps_between = 400", "steps_between = 0"),
        ("steps_between = 400", "rows_at_once = -1"),
    ],
)
def test_removal_of_no_sense_is_told_before_anything_runs(
    right: str, wrong: str, tmp_path: Path
) -> None:
    text = (RECIPES / "multiplication-2.toml").read_text(encoding="utf-8")
    told = f"sets '{wrong.split()[0]}' to .*; make it a whole num"
    check_told(text, right, wrong, told, tmp_path)


def test_a_stage_may_have_documents_of_its_own(tmp_path: Path) -> None:
    text = (RECIPES / "tiny.toml").read_text(encoding="utf-8")
    stage = '[[stages]]\nname = "describe"\nshards = { describe = 2, transcribe = 1 }\n'

    def own(made: int, asked: str) -> str:
        more = f'name = "more"\nstage = "documents"\nseed = 1\nshards = {{ describe = {made} }}\n'
        uses = f'name = "describe"\ndocuments = "more"\nshards = {{ {asked} }}\n'
        return f"[[stages]]\n{more}[[stages]]\n{uses}"

    right = tmp_path / "right.toml"
    right.write_text(text.replace(stage, own(2, "describe = 2")), encoding="utf-8")
    assert Recipe.load(str(right), tmp_path).only("describe")[0].documents == "more"
    told = "'describe' asks for 2 shards of 'describe' and the stage 'more' makes 1"
    check_told(text, stage, own(1, "describe = 2"), told, tmp_path)
    told = "'describe' asks for 1 shard of 'transcribe' and the stage 'more' makes 0"
    check_told(text, stage, own(2, "describe = 2, transcribe = 1"), told, tmp_path)
    first = '[[stages]]\nname = "documents"\n'
    other = '[[stages]]\nname = "world"\nstage = "documents"\n'
    told = "'pretrain' reads what the stage 'documents' makes, and .*set documents to one of: world"
    check_told(text, first, other, told, tmp_path)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("held_out = 2", "has 2 of 'preferences'; lower held_out, or make more"),
        ("held_out = 1\nshards = { preferences = 2, realtime = 1 }", "takes its pairs from the .*"
         "'own_answers' and has preferences in its shards; leave out one"),
        ("held_out = 1\nshards = { realtime = 1 }", "has batch_size = 4 and 1 sample kept out"),
    ],
)  # fmt: skip
def test_pairs_of_own_answers_that_cannot_do_are_told_early(
    wrong: str, told: str, tmp_path: Path
) -> None:
    text = (RECIPES / "tiny.toml").read_text(encoding="utf-8")
    right = "held_out = 8\nwindowed = true\nsft_weight = 0.1\nkeep_weight = 0.1\n"
    right += "shards = { preferences = 2, realtime = 1 }\n"
    told = f"'prefer' .*{told}"
    check_told(text, right, f'pairs = "own_answers"\n{wrong}\n', told, tmp_path)


def _context(folder: Path, name: str, **settings: object) -> Context:
    return Context(name, load_preset("tiny"), {"stage": name, **settings}, folder)


def test_more_shards_than_there_are_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "load_samples", lambda path: [path.name])
    monkeypatch.setattr(documents, "check_preset", lambda *given: None)
    for index in range(2):
        path = documents.shard_path(tmp_path / "documents", "audio", index)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    first, second = "00000.safetensors", "00001.safetensors"
    assert documents.samples_of(_context(tmp_path, "audio"), "audio") == [first, second]
    one = _context(tmp_path, "audio", shards={"audio": 1})
    assert documents.samples_of(one, "audio") == [first]
    with pytest.raises(UserError, match=r"asks for 3 shards of 'audio' and finds 2.*'documents'"):
        documents.samples_of(_context(tmp_path, "audio", shards={"audio": 3}), "audio")
    (tmp_path / "documents").rename(tmp_path / "more")
    other = _context(tmp_path, "audio", documents="more")
    assert documents.samples_of(other, "audio") == [first, second]
    with pytest.raises(UserError, match="stage 'documents' makes"):
        documents.samples_of(one, "audio")


def test_an_unknown_kind_is_not_taken_for_scenes(tmp_path: Path) -> None:
    worker = object.__new__(documents._Worker)
    worker.context, worker.seed, worker.size = _context(tmp_path, "documents"), 0, 1
    with pytest.raises(KeyError, match="pretrian"):
        worker.make(("pretrian", 0))


class _Killed(Exception):
    pass


def test_half_a_text_tokenizer_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def die_in(self: TextTokenizer, path: Path) -> None:
        path.write_bytes(self.model[:100])
        raise _Killed

    context = _context(tmp_path, "text_tokenizer", lines=2_000)
    with monkeypatch.context() as patch:
        patch.setattr(TextTokenizer, "save", die_in)
        with pytest.raises(_Killed):
            run_stage(context)
    assert run_stage(context)["vocab_size"] > 300
    assert TextTokenizer.load(context.folder / "text_tokenizer.model")


@pytest.mark.parametrize("moment", ["quintet.stages.judges.write_whole", "numpy.save"])
def test_half_of_the_spoken_lines_are_not_kept(
    moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*given: Any) -> None:
        raise _Killed

    monkeypatch.setattr(judges, "synthesize", lambda text, voice: np.ones(96_000, np.float32))
    path = tmp_path / "lines-4.npy"
    with monkeypatch.context() as patch:
        patch.setattr(moment, die)
        with pytest.raises(_Killed):
            judges.SpokenLines(path, 4, 0, "train")
    made = judges.SpokenLines(path, 4, 0, "train")
    assert [end - start for _, start, end in made.lines] == [96_000] * 4
    assert len(made.samples) == 4 * 96_000


def test_the_judge_of_pictures_is_tested_on_none_that_it_was_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn = np.zeros((judges.SIZE, judges.SIZE, 3), np.uint8)
    monkeypatch.setattr(judges, "canonical_picture", lambda thing, size: drawn)
    monkeypatch.setattr(judges, "render_picture", lambda thing, rng, split, size: drawn + 255)
    shares = {s: float((judges._pictures(400, 0, s)[0] == 0).float().mean()) for s in
              ("train", "test")}  # fmt: skip
    assert 0.05 < shares["train"] < 0.2 and shares["test"] == 0


@needs_world
def test_the_result_is_a_model(runs: Path, tmp_path: Path) -> None:
    model = quintet.load(runs / "tiny" / "release" / "model")
    assert "scores" in model.card
    reply = model.talk(text="hello.")
    reply.save(tmp_path / "reply")
    assert (tmp_path / "reply" / "timeline.png").stat().st_size > 1_000
    model.chat([{"role": "user", "content": "hello."}])
    with model.session() as session:
        assert len(session.step(reply.audio[:6_000]).audio) == 6_000


@needs_world
def test_finished_stages_are_not_run_again(runs: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("*") if path.is_file()}
    for context in Recipe.load("tiny", runs).stages:
        assert is_finished(context)
        run_stage(context)
    assert before == {p: p.stat().st_mtime_ns for p in runs.rglob("*") if p.is_file()}


@needs_world
def test_a_stage_that_was_stopped_makes_the_same_again(runs: Path, tmp_path: Path) -> None:
    """Half of the shards are lost and the stage is run again: the same bytes."""
    copy = tmp_path / "runs"
    shutil.copytree(runs, copy)
    folder = copy / "tiny" / "documents"
    before = {path: path.read_bytes() for path in folder.rglob("*.safetensors")}
    for path in list(before)[::2]:
        path.unlink()
    (folder / "scores.json").unlink()
    run_stage(Recipe.load("tiny", copy).only("documents")[0])
    assert before == {path: path.read_bytes() for path in folder.rglob("*.safetensors")}


@needs_world
def test_a_finished_stage_tells_what_the_recipe_says_otherwise(runs: Path, tmp_path: Path) -> None:
    text = (RECIPES / "tiny.toml").read_text(encoding="utf-8")
    copy, recipe = tmp_path / "runs", tmp_path / "tiny.toml"
    shutil.copytree(runs, copy)

    def run_with(right: str, wrong: str, stage: str) -> None:
        assert right in text
        recipe.write_text(text.replace(right, wrong, 1), encoding="utf-8")
        run_stage(Recipe.load(str(recipe), copy).only(stage)[0])

    for right, wrong, stage, told in (
        ("shard_size = 12", "shard_size = 14", "documents", "shard_size = 12 and .* now says 14"),
        ("steps = 6", "steps = 7", "pretrain", "train.steps = 6 and the recipe now says 7"),
        ("lines = 2000", "lines = 2001", "text_tokenizer", "lines = 2000 and the recipe now says"),
        ('"tiny"', '"nano"', "image_tokenizer", "preset.image.* = .* and the recipe now says"),
    ):
        with pytest.raises(UserError, match=told) as raised:
            run_with(right, wrong, stage)
        assert str(raised.value).endswith("to run it again.") and "delete" in str(raised.value)
    run_with("evaluate_every = 3", "evaluate_every = 5", "pretrain")
    run_with('"tiny"', '"nano"', "judges")
    run_with("pretrain = 2", "pretrain = 3", "documents")
    assert len(list((copy / "tiny" / "documents" / "pretrain").iterdir())) == 3
    (copy / "tiny" / "text_tokenizer" / "settings.json").unlink()  # as before there were records
    run_with("lines = 2000", "lines = 2001", "text_tokenizer")


@needs_world
def test_documents_of_another_preset_are_told(runs: Path) -> None:
    context = Context("pretrain", load_preset("nano"), {"stage": "pretrain"}, runs / "tiny")
    with pytest.raises(UserError, match="made with another preset than 'nano'"):
        documents.samples_of(context, "pretrain")


def test_two_do_not_run_a_stage_in_one_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = _context(tmp_path, "text_tokenizer", lines=2_000)
    with alone(context):
        with pytest.raises(UserError, match=f"by process {os.getpid()}; wait for it"):
            run_stage(context)
        monkeypatch.setenv("RANK", "1")  # another process of the same run
        with alone(context):
            pass
    monkeypatch.undo()
    assert run_stage(context)


def test_a_stage_without_what_it_needs_says_which_to_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="text_tokenizer"):
        run_stage(Recipe.load("tiny", tmp_path).only("documents")[0])
