"""Tables of settings from the code: types and ranges from annotations, defaults from where they are
read, meanings from the comments beside them, or from here where a line has no room for one."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import re
from types import ModuleType
from typing import Any, get_type_hints

from quintet.config import OmniConfig, load_preset
from quintet.settings import in_words
from quintet.stages.omni_task import OMNI_SETTINGS
from quintet.stages.sources import SOURCE_SETTINGS
from quintet.train import TrainConfig

PRESETS = ("tiny", "nano", "small", "sketch", "reference")
SHARED = (  # told once for all stages
    "train", "start_from", "documents", "shards", "held_out", "sources",
)  # fmt: skip
HELPERS = ("omni_task", "documents", "sources")  # where stages read what they share
# Of settings in a stage's table; "stage.setting" where one stage means something else by it.
MEANINGS = {
    "train": "the table of how it trains: [these settings](settings.md#training)",
    "start_from": "the earlier stage whose weights begin; or, of the transformer, a "
    "[finished model](training.md#from-a-finished-model)",
    "documents": "the stage of documents whose shards are read; `documents`, unless set",
    "shards": "how many shards of each kind of document; kinds beside the stage's own are mixed in",
    "documents.shards": "how many shards of each kind to make",
    "held_out": "samples of its own kind that are kept out of training and give the scores",
    "sources": "folders of `quintet tokenize`, each with its weight: [your own data](data.md)",
    "text_weight": "how many times as much a word counts in the loss as any other row",
    "turn_weight": "of a further loss: does each head answer at all, where a step first asks it",
    "windowed": "scenes longer than the session's window are learned through it",
    "lines": "requests and answers of the world to learn from",
    "judges.lines": "spoken lines for the recognizer",
    "seed": "of what is made here",
    "characters": "each of these is an entry, and nothing is merged (for digits)",
    "utterances": "spoken lines to learn from",
    "held_out_utterances": "lines of voices that are kept out of training",
    "held_out_clips": "clips of each kind in an evaluation",
    "every_voice": "all of espeak-ng's languages and voices, not the world's alone",
    "recordings": "a folder of your own; a fifth of the clips are cut from it",
    "clip_seconds": "length of a clip",
    "fill_at": "share of the steps after which the codebooks are filled and the bottleneck closes",
    "adversarial_at": "share of the steps after which the discriminator sets in",
    "discriminator_windows": "its windows, in samples; none, and there is no discriminator",
    "discriminator_channels": "its width",
    "image_tokenizer.discriminator_channels": "its width; 0, and there is no discriminator",
    "pictures": "crops to learn from",
    "judges.pictures": "the table of how the classifier trains",
    "recognizer": "the table of how the recognizer trains",
    "count": "pictures for the classifier",
    "held_out_pictures": "crops of each source kept out of training",
    "crop": "pixels on a side of a crop",
    "largest": "pixels on a side at which a thing is rendered before a crop is taken, at most",
    "pages": "share of crops from pages of text",
    "photographs": "share of crops from photographs",
    "photograph_folder": "your own photographs, beside those that scikit-image has",
    "plain": "share of plain areas of one colour",
    "small_text": "above 1, small letters are more frequent on pages",
    "structure": "weight of the structural loss (SSIM)",
    "shard_size": "samples of a shard",
    "pictures_each": "pictures of every thing, as a camera sees it",
    "processes": "that share the work",
    "requests": "requests, of which each may give a pair",
    "answers_each": "answers to each of them",
    "least_gap": "decibels by which the two of a pair differ at least",
    "own_voice": "share of requests that are answered in the model's own voice, and not another's",
    "pairs": "the earlier stage `own_answers` from whose pairs it learns, in place of documents",
    "form": "of a multiplication's reasoning: a partial product for each digit, as published, or "
    "what falls into each place",
    "digits": "long multiplication with so many digits, new numbers at every step; 0: shards",
    "think.digits": "long multiplication with so many digits, new numbers at every step",
    "layer": "counted from the first: of whose hidden vectors the probe reads the sums",
    "reasoning": "whether it goes, stays, or never was",
    "explicit_steps": "steps before the first rows go",
    "longer": "steps until the next removal, by rows that have gone, where they are not "
    "`steps_between`",
    "moves_up_at": "what is left keeps its positions before this step, and then moves up at once",
    "answer_stays": "the answer has from the first step on the positions that it will have in the "
    "end, and what is left of the reasoning keeps its own",
    "steps_between": "steps from one removal to the next",
    "rows_at_once": "rows of a removal",
    "beta": "how dear it is to leave the reference",
    "label_smoothing": "share of pairs thought to be the wrong way round (conservative DPO)",
    "ipo": "aim at a margin of 1 / (2 beta), not at ever more (IPO)",
    "length_normalized": "means over a sample's answers, not sums; `beta` must then be larger",
    "sft_weight": "weight of the chosen answer's own loss, in nats an answer, against forgetting",
    "keep_weight": "weight of the divergence from the reference on the other kinds in `shards`, in "
    "nats a question, against forgetting",
    "model": "the stage whose transformer is released",
    "of": "the stages whose weights are averaged, two or more",
    "audio": "the stage whose codec is released",
    "recipe": "named in the card",
    "about": "what the card says of the model",
    "forms": "of preference pairs: what the rejected answers are, in turn",
    "speakers": "whether voices with names come with it, for the system prompt",
}  # fmt: skip
# Defaults that no expression gives by itself.
DEFAULTS = {
    "train": "needed", "judges.recognizer": "needed", "judges.pictures": "needed",
    "shards": "all there are", "documents.shards": "none", "sources": "none", "recordings": "none",
    "photograph_folder": "none", "image_tokenizer.crop": "the preset's image size",
    "image_tokenizer.largest": "`crop`", "about": "the world's sentence",
    "forms": "all", "of": "needed", "think.layer": "at three quarters of all, rounded down",
}  # fmt: skip
# Fields of dataclasses without a comment of their own.
FIELDS = {
    "steps": "optimizer steps",
    "batch_size": "samples of a step, those of all processes together",
    "learning_rate": "after the warmup",
    "warmup_steps": "steps of linear rise",
    "weight_decay": "AdamW's; tables of embeddings and norms of the transformer have none",
    "betas": "AdamW's",
    "seed": "of weights and batches",
    "threads": "of the processor",
    "vocab_size": "entries, [ref] 200,019",
    "lstm_layers": "after the strided convolutions",
    "latent_dim": "width of a vector that is quantized",
    "num_codebooks": "residual, one after another",
    "codebook_size": "codes of a codebook",
    "channel_multipliers": "width at each resolution, times `channels`",
    "strides": "of the convolutions; their product is what one token spans",
    "residual_blocks": "at each resolution",
    "d_model": "width of a row",
    "d_position": "of it for the position",
    "d_time": "of it for the time",
    "num_layers": "blocks",
    "num_heads": "of attention",
    "num_kv_heads": "of keys and values",
    "d_feed_forward": "width of SwiGLU",
    "audio_head": "how a frame's codes are chosen: [the heads](transformer.md#the-heads)",
    "z_loss": "weight of the loss on the logits' normalizer",
    "residual_kernel_sizes": "of the two convolutions in a residual unit",
    "window_steps.live": "older steps leave the context, the system prompt stays",
    "channels.image": "at the picture's own resolution",
    "strides.audio": "of the convolutions; their product is the samples of a frame",
}


def of_stage(stage: str) -> str:
    """A sentence on what a stage shares with others, and the table of its own settings."""
    module = importlib.import_module(f"quintet.stages.{stage}")
    told, lines = [], ["| setting | is | unless set | meaning |", "|---|---|---|---|"]
    for name, kind in module.SETTINGS.items():
        default = _default(module, stage, name)
        if name in SHARED and f"{stage}.{name}" not in MEANINGS:
            told.append(f"`{name}`" + f" ({default})" * (name in ("start_from", "held_out")))
            continue
        meaning = MEANINGS.get(f"{stage}.{name}", MEANINGS.get(name))
        assert meaning, f"give the setting {name} of {stage} a line in {__file__}"
        lines.append(f"| `{name}` | {_kind(kind)} | {default} | {meaning} |")
    shared = "[Shared](../stages.md#shared-settings): "
    parts = [f"{shared}{', '.join(told)}."] if told else []
    return "\n\n".join(parts + ["\n".join(lines)] * (len(lines) > 2))


def of_shared() -> str:
    """The table of the settings that most stages have."""
    lines = ["| setting | is | meaning |", "|---|---|---|"]
    for name in SHARED:
        kind = (OMNI_SETTINGS | SOURCE_SETTINGS)[name]
        lines.append(f"| `{name}` | {_kind(kind)} | {MEANINGS[name]} |")
    return "\n".join(lines)


def _kind(kind: Any) -> str:
    words = "a table" if kind is TrainConfig else in_words(kind)
    return words.replace("2.14748e+09", "2³¹").replace("'", "`")


def _default(module: ModuleType, stage: str, name: str) -> str:
    if known := DEFAULTS.get(f"{stage}.{name}", DEFAULTS.get(name)):
        return known
    if name == "start_from" and (start := getattr(module, "START", None)):
        return f"`{start}`"
    helpers = [importlib.import_module(f"quintet.stages.{helper}") for helper in HELPERS]
    for where in (module, *helpers):
        for default in _read_with(where, name):
            return _written(default)
    if name in PREFERENCE:
        return _written(PREFERENCE[name])
    return "from nothing" if name == "start_from" else "none"


def _read_with(module: ModuleType, name: str) -> list[Any]:
    """The defaults with which a module reads a setting: `settings.get("name", default)`."""
    found = []
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        match node:
            case ast.Call(func=ast.Attribute(attr="get"), args=[ast.Constant(value=key), default]):
                if key == name:
                    code = compile(ast.Expression(default), module.__name__, "eval")
                    found.append(eval(code, vars(module)))
    return found


def _preference_defaults() -> dict[str, Any]:
    from quintet.train.preference import PreferenceConfig

    return {field.name: field.default for field in dataclasses.fields(PreferenceConfig)}


PREFERENCE = _preference_defaults()


def _written(value: Any) -> str:
    """A value as a recipe writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"{value:,}" if isinstance(value, int) else f"{value:g}"
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_written, value))}]" if value else "none"
    return f"`{value}`" if value else "none"


def comments(kind: type) -> dict[str, str]:
    """The comment of each field of a dataclass: beside it, or in the lines above it."""
    found, above = {}, list[str]()
    for line in inspect.getsource(kind).splitlines():
        if field := re.match(r"    (\w+): [^#]*(?:# (.*))?$", line):
            found[field[1]] = field[2] or " ".join(above)
        above = [*above, line.strip()[2:]] if line.startswith("    # ") else []
    return found


def _meaning(kind: type, name: str) -> str:
    part = kind.__name__.removesuffix("Config").lower()
    written = comments(kind).get(name, "").rstrip(".")
    own = written[:1].lower() + written[1:]
    meaning = FIELDS.get(f"{name}.{part}") or own or FIELDS.get(name)
    assert meaning, f"give {kind.__name__}.{name} a comment, or a line in {__file__}"
    return meaning


def of_training() -> str:
    """The table of `TrainConfig`."""
    hints = get_type_hints(TrainConfig, include_extras=True)
    lines = ["| setting | is | unless set | meaning |", "|---|---|---|---|"]
    for field in dataclasses.fields(TrainConfig):
        required = field.default is dataclasses.MISSING
        default = "needed" if required else _written(field.default)
        meaning = _meaning(TrainConfig, field.name)
        lines.append(f"| `{field.name}` | {_kind(hints[field.name])} | {default} | {meaning} |")
    return "\n".join(lines)


def of_presets() -> str:
    """A table for each part of a preset, with what the project's own presets set."""
    presets = [load_preset(name) for name in PRESETS]
    tables = []
    for part, kind in get_type_hints(OmniConfig).items():
        if not dataclasses.is_dataclass(kind):
            continue
        head = f"### `[{part}]`\n\n| setting | {' | '.join(PRESETS)} | meaning |"
        lines = [head, "|---" * (len(PRESETS) + 2) + "|"]
        for field in dataclasses.fields(kind):
            values = [_written(getattr(getattr(preset, part), field.name)) for preset in presets]
            assert isinstance(kind, type)
            meaning = _meaning(kind, field.name)
            lines.append(f"| `{field.name}` | {' | '.join(values)} | {meaning} |")
        tables.append("\n".join(lines))
    return "\n\n".join(tables)
