"""A recipe: a preset and the stages that train it, in order, as one TOML file.

    preset = "nano"          # a preset, or the path of a file like one
    tokenizers = "nano"      # a model whose tokenizers are taken, where no stage trains them
    [train]                  # what all trained stages share
    [[stages]]
    name = "pretrain"        # its folder, and the module of this package that runs
    stage = "pretrain"       # the module, where a stage runs twice under two names
    [stages.train]           # what this stage sets otherwise

Everything else in a stage's table is for the stage itself. The whole file is checked before
anything runs.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from quintet.config import OmniConfig, UserError, counted, from_dict, load_preset
from quintet.settings import check_type, read_toml
from quintet.stages.context import DOCUMENTS, SCORES, TOKENIZER_STAGES, Context, recorded
from quintet.stages.documents import HELD_OUT, KINDS, PREFERENCES, SHARD_SIZE, check_counts
from quintet.stages.own_answers import requests_of
from quintet.stages.record import alone, check_same, is_begun, record
from quintet.stages.sources import check_tokenizers, indexes
from quintet.tokenizers.bundle import Tokenizers
from quintet.tokenizers.folders import find as find_model
from quintet.tokenizers.folders import read_config
from quintet.train import TrainConfig
from quintet.train.processes import leads, world_size
from quintet.whole_file import write_whole

RECIPES = Path(__file__).parent.parent / "recipes"
STAGES = (
    "text_tokenizer", "audio_tokenizer", "image_tokenizer", "documents", "pretrain", "audio",
    "unfrozen", "instruct", "internalize", "think", "scripts", "transcribe", "describe",
    "realtime", "own_answers", "prefer", "average", "audio_decoder", "judges", "release",
)  # fmt: skip
TRANSFORMER_STAGES = {  # which may train on many devices; see docs/many-devices.md
    "pretrain", "audio", "unfrozen", "instruct", "internalize", "scripts", "transcribe",
    "describe", "realtime", "prefer",
}  # fmt: skip
# What later stages take from earlier ones, and the stages that make it.
MAKERS = {
    "transformer": TRANSFORMER_STAGES | {"average", "think"},
    "codec": {"audio_tokenizer", "audio_decoder"},
    "image tokenizer": {"image_tokenizer"},
    "samples": {DOCUMENTS},
    "pairs": {"own_answers"},
}
STARTS = {"own_answers": "transformer"}  # of stages that make something else than they start from
# Settings that name such stages, and what for; None: for what the stage makes, or starts from.
NAMED = {
    "start_from": None, "audio": "codec", "model": "transformer", "of": "transformer",
    "documents": "samples", "pairs": "pairs",
}  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """Stages about to run, in order; `runs` is the folder that holds one folder a stage."""

    name: str
    stages: tuple[Context, ...]

    @classmethod
    def load(cls, name: str, runs: Path) -> Recipe:
        """Read a recipe's file (or the bundled recipe of that name); results go below `runs`.

        Raises:
            UserError: no such recipe, or one that names an unknown preset, stage or setting.
        """
        path = find(name)
        values = read_toml(path)
        known = {"preset", "tokenizers", "train", "stages"}
        if unknown := sorted(set(values) - known):
            raise UserError(
                f"{path} sets {unknown[0]!r}, which a recipe does not have; "
                f"use {', '.join(sorted(known))}."
            )
        tables = values.get("stages", [])
        if not (tables and isinstance(tables, list) and all(isinstance(t, dict) for t in tables)):
            raise UserError(f"{path} has no stages; add a table [[stages]] with a name.")
        preset, folder = load_preset(str(values.get("preset", ""))), runs / path.stem
        shared, tokenizers = values.get("train", {}), values.get("tokenizers")
        if tokenizers is not None:
            check_type("tokenizers", tokenizers, str, str(path))
            preset = _with_sizes_of(preset, tokenizers)
        check_type("train", shared, TrainConfig, str(path))
        stages: list[Context] = []
        for table in tables:
            context = _stage(table, shared, preset, folder, path, stages, tokenizers)
            stages.append(replace(context, recipe=name))
        _check_shards(stages)
        _check_sources(stages, path)
        return cls(path.stem, tuple(stages))

    def only(self, stage: str | None) -> tuple[Context, ...]:
        """One stage by name, or all, to be run by the processes that there are.

        Raises:
            UserError: the recipe has no such stage, that many processes cannot share it, or
                something that it needs is not installed.
        """
        chosen = tuple(s for s in self.stages if stage in (None, s.name))
        if not chosen:
            names = ", ".join(s.name for s in self.stages)
            raise UserError(f"{self.name} has no stage {stage!r}; choose one of: {names}.")
        for context in chosen:
            if is_finished(context):
                continue
            if context.settings["stage"] in TRANSFORMER_STAGES:
                context.train.check_layout(context.preset.model, world_size())
            module = importlib.import_module(f"quintet.stages.{context.settings['stage']}")
            if hasattr(module, "needs"):
                module.needs(context)
        return chosen


def find(name: str) -> Path:
    """A recipe's file: a path, or the name of one of the project's own recipes."""
    for path in (Path(name), RECIPES / f"{name}.toml"):
        if path.is_file():
            return path
    names = ", ".join(sorted(p.stem for p in RECIPES.glob("*.toml")))
    if Path(name).is_dir():
        raise UserError(f"{name} is a folder; name a recipe's TOML file, or one of: {names}.")
    raise UserError(f"There is no recipe {name!r}; name a TOML file, or one of: {names}.")


def _stage(
    table: dict[str, Any],
    shared: dict[str, Any],
    preset: OmniConfig,
    folder: Path,
    recipe: Path,
    earlier: list[Context],
    tokenizers: str | None,
) -> Context:
    """One stage, checked: a misspelt setting is an error now, not hours later.

    The `SETTINGS` of a stage's module say of which type each one is.
    """
    settings = dict(table)
    name = str(settings.pop("name", settings.get("stage", "")))
    stage = settings["stage"] = str(settings.get("stage", name))
    if stage not in STAGES:
        raise UserError(
            f"{recipe} names an unknown stage {stage!r}; use one of: {', '.join(STAGES)}."
        )
    if name in [one.name for one in earlier]:
        raise UserError(f"{recipe} has two stages {name!r}; give each a name of its own.")
    module = importlib.import_module(f"quintet.stages.{stage}")
    if unknown := sorted(set(settings) - {"stage", *module.SETTINGS}):
        raise UserError(
            f"{recipe} sets {unknown[0]!r} in stage {name!r}, which does not have it; "
            f"use one of: {', '.join(('name', 'stage', *module.SETTINGS))}."
        )
    for key, kind in module.SETTINGS.items():
        if key in settings:
            check_type(key, settings[key], kind, f"{recipe}, stage {name!r},")
    if "train" in module.SETTINGS:
        settings["train"] = shared | settings.get("train", {})
    context = Context(name, preset, settings, folder, tokenizers)
    for key, kind in module.SETTINGS.items():
        if kind is TrainConfig:
            context.train_table(key)
    if stage in TRANSFORMER_STAGES:
        context.train.check_layout(preset.model, context.train.together)
    if hasattr(module, "check"):
        module.check(context)
    usual = {"start_from": getattr(module, "START", None)} | getattr(module, "TAKES", {})
    return _started(context, usual, earlier)


def _started(context: Context, usual: dict[str, Any], before: list[Context]) -> Context:
    """With the model that it starts from, if that is no earlier stage; `usual` are the stages that
    it takes something from without a setting.

    Raises:
        UserError: a setting names neither, or a model that does not fit.
    """
    settings, stage = context.settings, context.settings["stage"]
    made = next((what for what, makers in MAKERS.items() if stage in makers), "")
    own = STARTS.get(stage, made)
    given, earlier = usual | settings, [one.name for one in before]
    for key in NAMED:
        names, what = given.get(key), NAMED[key] or own
        makers = MAKERS.get(what, set())
        fitting = [one.name for one in before if one.settings["stage"] in makers]
        if context.tokenizers is not None:  # which are no stages, and go by their usual names
            fitting += sorted(makers & set(TOKENIZER_STAGES))
        for name in names if isinstance(names, list) else [names]:
            if name in (None, *fitting):
                continue
            may_be_model = key in settings and key == "start_from" and what == "transformer"
            if may_be_model and name not in earlier:
                context = replace(context, model=_model(context, str(name), fitting))
                continue
            raise UserError(
                f"Stage {context.name!r} has {key} = {name!r}, which is no earlier stage of the "
                f"{what}; use one of: {', '.join(fitting) or 'none, as there is none before it'}."
            )
    return context


def _model(context: Context, name: str, earlier: list[str]) -> Path:
    """The folder of a finished model that has the sizes and the tokenizers of the recipe.

    Raises:
        UserError: there is none of that name, or it has others.
    """
    try:
        folder = find_model(name)
    except UserError as error:
        raise UserError(
            f"Stage {context.name!r} has start_from = {name!r}, which is no earlier stage of the "
            f"transformer ({', '.join(earlier) or 'there is none'}) and no finished model: {error}"
        ) from None
    tokenizers = context.tokenizers
    if tokenizers is None or find_model(tokenizers).resolve() != folder.resolve():
        raise UserError(
            f"Stage {context.name!r} starts from the model {name!r}, whose codes mean something "
            f"with its own tokenizers alone; set tokenizers = {name!r} at the top of the recipe."
        )
    if from_dict(OmniConfig, read_config(folder), str(folder)).model != context.preset.model:
        raise UserError(
            f"Stage {context.name!r} starts from the model {name!r}, which has other sizes than "
            f"the preset {context.preset.name!r}; name the preset that it was made with."
        )
    return folder


def _with_sizes_of(preset: OmniConfig, tokenizers: str) -> OmniConfig:
    """The preset, its tokenizers of the sizes that those of a model have."""
    sizes, _ = Tokenizers.of_model(tokenizers)
    return replace(preset, text=sizes.text, audio=sizes.audio, image=sizes.image)


def _check_sources(stages: list[Context], recipe: Path) -> None:
    """What stages train on of a person's own data is there, and fits."""
    for context in stages:
        if context.tokenizers is not None and context.settings["stage"] in TOKENIZER_STAGES:
            raise UserError(
                f"{recipe} takes the tokenizers of {context.tokenizers} and has a stage "
                f"{context.name!r} that trains one; leave out one or the other."
            )
        if "sources" in context.settings:
            module = importlib.import_module(f"quintet.stages.{context.settings['stage']}")
            found = indexes(context, module.SOURCE_KINDS)
            if context.tokenizers is not None:
                check_tokenizers(context, found)


def _check_shards(stages: list[Context]) -> None:
    """No stage may ask for more shards of a kind than its stage of documents makes, or for more
    samples at once than these hold."""
    made_by: dict[str, tuple[dict[str, int], int]] = {}  # shards of each kind, and samples in each
    requests: dict[str, int] = {}  # of which each may give a pair
    for context in stages:
        shards = context.settings.get("shards", {})
        if unknown := sorted(set(shards) - set(KINDS)):
            raise UserError(
                f"Stage {context.name!r} asks for shards of the unknown kind {unknown[0]!r}; "
                f"use some of: {', '.join(KINDS)}."
            )
        if context.settings["stage"] == DOCUMENTS:
            made_by[context.name] = shards, context.settings.get("shard_size", SHARD_SIZE)
            continue
        if context.settings["stage"] == "own_answers":
            requests[context.name] = requests_of(context)
        if made_by and context.documents not in made_by and _reads_documents(context):
            raise UserError(
                f"Stage {context.name!r} reads what the stage {context.documents!r} makes, and the "
                f"recipe has none before it; set documents to one of: {', '.join(made_by)}."
            )
        made, size = made_by.get(context.documents, ({}, SHARD_SIZE))
        for kind, count in shards.items():
            if count > made.get(kind, 0):
                raise UserError(
                    f"Stage {context.name!r} asks for {counted(count, 'shard')} of {kind!r} and "
                    f"the stage {context.documents!r} makes {made.get(kind, 0)}; ask for fewer, "
                    "or make more."
                )
        trains = context.settings["stage"] in TRANSFORMER_STAGES
        if made and trains and _reads_documents(context):
            samples = {kind: size * count for kind, count in made.items()}
            if pairs := context.settings.get("pairs"):
                samples[PREFERENCES] = requests[pairs]
            _check_samples(context, samples, size)


def _reads_documents(context: Context) -> bool:
    module = importlib.import_module(f"quintet.stages.{context.settings['stage']}")
    instead = context.settings.get("sources") or context.settings.get("digits")
    return "documents" in module.SETTINGS and not instead


def _check_samples(context: Context, made: dict[str, int], size: int) -> None:
    """Of a stage that trains on at most so many samples of each kind, `size` of them a shard."""
    module = importlib.import_module(f"quintet.stages.{context.settings['stage']}")
    kind = getattr(module, "KIND", context.settings["stage"])
    shards = context.settings.get("shards", {})
    counts = {kind: made.get(kind, 0)} | {other: size * count for other, count in shards.items()}
    total = sum(counts.values())
    if tested := getattr(module, "TEST_KIND", None):
        check_counts(context, total, made.get(tested, 0))
        return
    held_out = context.settings.get("held_out", getattr(module, "HELD_OUT", HELD_OUT))
    if held_out >= counts[kind]:
        raise UserError(
            f"Stage {context.name!r} keeps {counted(held_out, 'sample')} out of training and "
            f"has {counts[kind]:,} of {kind!r}; lower held_out, or make more of them."
        )
    check_counts(context, total - held_out, held_out)


def is_finished(context: Context) -> bool:
    """Whether there is nothing left to do. Documents of which a recipe asks for more than there
    are go on with those that are missing."""
    if _scores(context) is None:
        return False
    if context.settings["stage"] != DOCUMENTS or not (made := recorded(context.folder)):
        return True
    asked = context.settings.get("shards", {})
    return all(count <= made.get(f"shards.{kind}", 0) for kind, count in asked.items())


def _scores(context: Context) -> dict[str, float] | None:
    """Those of a finished stage. One whose file is damaged counts as unfinished: from its last
    checkpoint it soon makes the same again."""
    try:
        return dict(json.loads((context.folder / SCORES).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def run_stage(context: Context) -> dict[str, float]:
    """Run one stage to its end, from where it stood; a finished one only gives its scores.

    Raises:
        UserError: it was made with other settings, somebody else runs it now, or torchrun has
            started several processes, and the stage is one for one.
    """
    path = context.folder / SCORES
    if is_finished(context):
        check_same(context)
        finished = _scores(context)
        assert finished is not None
        return finished
    if world_size() > 1 and context.settings["stage"] not in TRANSFORMER_STAGES:
        raise UserError(
            f"Stage {context.name!r} runs in one process; start it without torchrun "
            f"({context.command(context.name)})."
        )
    run: Callable[[Context], dict[str, float]]
    run = importlib.import_module(f"quintet.stages.{context.settings['stage']}").run
    with alone(context):
        if is_begun(context):  # what is there will be kept
            check_same(context)
        if leads():
            path.unlink(missing_ok=True)  # of fewer documents, whose record is written over
            record(context)
        scores = run(context)
        if leads():
            write_whole(path, json.dumps(scores, indent=2) + "\n")
    return scores
