"""Release: the trained parts become a model's folder, with a card that says how it was made."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path

from quintet.data.world.speakers import named_speaker
from quintet.data.world.things import THINGS
from quintet.live.pretrained import assemble
from quintet.media.speech import SPEAKERS
from quintet.stages.context import MODEL_FILE, Context, recorded
from quintet.stages.record import START_WEIGHTS
from quintet.tokenizers.folders import AUDIO_FILE, IMAGE_FILE, TEXT_FILE

SETTINGS = {
    "model": str, "audio": str, "recipe": str, "about": str, "speakers": bool
}  # fmt: skip
TAKES = {"model": "realtime", "audio": "audio_tokenizer"}  # unless settings name other stages
CARD = """---
library_name: quintet
pipeline_tag: any-to-any
license: apache-2.0
---
# Quintet {name}

{about}

Trained from {start} by `quintet train {recipe}` (seeds are in that recipe).{mean}
The last scores of every stage; {kept_out}:

```json
{scores}
```
"""
MEAN = """
The weights are the mean of those of the stages {stages}."""
WORLD = """\
A small omni model: it hears, sees, reads, writes, speaks and draws at once, on a clock of four
steps a second. It knows {things} everyday things of a synthetic world and nothing else: its
speech comes from espeak-ng, its pictures from the Noto Color Emoji font."""
WORLD_KEPT_OUT = """\
voices, backgrounds and sizes of pictures are kept out of training, the sentences and
things are those of training, and what was seen whole says so in its name"""


def _start(context: Context) -> str:
    """What the stages that led to the released one went on from: "nothing", or models, by their
    names alone, as the card may be published and paths are nobody's business. Of a stage whose
    folder says nothing, as in earlier versions, nobody knows."""
    starts, stages = set[str](), [context.settings.get("model", TAKES["model"])]
    for stage in stages:  # to which those before it are added
        settings = recorded(context.run_folder / stage)
        if not settings:
            starts.add("an unknown start")
            continue
        module = importlib.import_module(f"quintet.stages.{settings['stage']}")
        before = settings.get("start_from", getattr(module, "START", None)) or ""
        # Of older records, which name no weights: what is no stage of the run is a model.
        is_stage = Path(before).name == before and (context.run_folder / before).is_dir()
        if START_WEIGHTS in settings or ("start_from" in settings and not is_stage):
            starts.add(f"the model {Path(before).absolute().name}")
        elif earlier := settings.get("of", [before] if before else []):
            stages += [name for name in earlier if name not in stages]
        else:
            starts.add("nothing")
    return " and ".join(sorted(starts, key=lambda start: (start != "nothing", start)))


def _mean(context: Context) -> str:
    """What the card says of a released mean."""
    stages = recorded(context.run_folder / context.settings.get("model", TAKES["model"])).get("of")
    return MEAN.format(stages=", ".join(f"`{stage}`" for stage in stages)) if stages else ""


def run(context: Context) -> dict[str, float]:
    """Assemble `model/` in this stage's folder; copy it to quintet/bundled/NAME to ship it."""
    system = assemble(
        context.made_by(context.settings.get("model", TAKES["model"]), MODEL_FILE),
        [
            context.made_by("text_tokenizer", TEXT_FILE),
            context.made_by(context.settings.get("audio", TAKES["audio"]), AUDIO_FILE),
            context.made_by("image_tokenizer", IMAGE_FILE),
        ],
        context.preset,
    )
    scores = {
        path.parent.name: json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(context.run_folder.glob("*/scores.json"))
        if path.parent.name != context.name
    }
    about, kept_out = context.settings.get("about"), "of samples kept out of training"
    system.card = CARD.format(
        name=context.preset.name,
        about=about or WORLD.format(things=len(THINGS)),
        kept_out=kept_out if about else WORLD_KEPT_OUT,
        recipe=context.settings.get("recipe", "nano"),
        start=_start(context),
        mean=_mean(context),
        scores=json.dumps(scores, indent=2),
    )
    if context.settings.get("speakers", False):
        encode = system.tokenizers.encode_audio
        system.voices = {name: encode(named_speaker(name).sound) for name in SPEAKERS}
    folder, partial = context.folder / "model", context.folder / "model.partial"
    for old in (partial, folder):  # of a run that was killed
        shutil.rmtree(old, ignore_errors=True)
    system.save_pretrained(partial)
    partial.rename(folder)
    return {"parameters": float(sum(p.numel() for p in system.model.parameters()))}
