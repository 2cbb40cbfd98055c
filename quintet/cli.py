"""The commands. Each imports what it needs when it runs, so that `--help` is quick.

A person's mistake is one sentence on standard error and exit status 2, never a traceback.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from quintet.commands.farewell import leave, mistake, say
from quintet.commands.json_file import JSON, write_json
from quintet.commands.plan_command import plan
from quintet.commands.sharing import RAY, processes_option, workers_of
from quintet.config import RUNS, UserError, counted

FOLDER = click.Path(path_type=Path)
MODEL = click.option("--model", default="nano", show_default=True, help="Name, folder or hub id.")
VOICE = click.option("--voice", metavar="NAME|FILE",
                     help="Whose voice it answers in: quintet, its own; another of the model's by "
                          "name; or that of who speaks in this recording, of which one to two "
                          "seconds are heard.")  # fmt: skip
SEED = click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 2**31))


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    invoke_without_command=True,
)
@click.version_option(package_name="quintet")
@click.pass_context
def commands(context: click.Context) -> None:
    """Quintet: one transformer that hears, sees, reads, writes, speaks and draws in real time."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; the exit status is 2 for a person's mistake and 130 for Ctrl-C."""
    try:
        commands.main(arguments, prog_name="quintet", standalone_mode=False)
    except UserError as error:
        leave(str(error), 2)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        leave(mistake(error), 2)
    except BrokenPipeError:
        sys.exit(0)
    except OSError as error:
        name = f"{error.filename}: " if error.filename else ""
        leave(f"{name}{error.strerror or error}; check the path and the space left.", 2)


def _folder(path: Path) -> Path:
    """`path` as a folder that can be made, checked before the work begins."""
    if path.exists() and not path.is_dir():
        raise UserError(f"{path} is a file; name a folder with --out.")
    path.mkdir(parents=True, exist_ok=True)
    return path


def _load(model: str) -> Any:
    """The model, on one thread unless the environment asks for more.

    A session makes one row at a time: shared by two threads, so little work takes hardly less time
    (13 ms instead of 15 a step), and beside another busy process many times as much.
    """
    import torch

    from quintet.live import load

    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)
    return load(model)


@commands.command()
@click.argument("model", default="nano")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8321, show_default=True)
@click.option("--sessions", default=8, show_default=True, type=click.IntRange(1, 64),
              help="Conversations at once; more are turned away.")  # fmt: skip
@click.option("--api-key-file", "key_file", type=FOLDER,
              help="Keys, one a line: only who has one may talk.")  # fmt: skip
@click.option("--certificate", type=FOLDER,
              help="A PEM file of a private key and its certificate: https and wss.")  # fmt: skip
@click.option("--record", type=FOLDER, metavar="FOLDER",
              help="Write all that is said down here, for `quintet replay`.")  # fmt: skip
@click.option("--record-minutes", "minutes", default=10.0, show_default=True,
              type=click.FloatRange(0.1, 120), help="Of each session.")  # fmt: skip
@click.option("--drain", default=25.0, show_default=True, type=click.FloatRange(0, 86_400),
              help="Seconds that sessions may go on after SIGTERM.")  # fmt: skip
@click.option("--replicas", default=1, show_default=True, type=click.IntRange(1, 1_024),
              help="Servers behind one address; more than one need the extra cluster.")  # fmt: skip
def serve(
    model: str, host: str, port: int, sessions: int, key_file: Path | None,
    certificate: Path | None, record: Path | None, minutes: float, drain: float,
    replicas: int,
) -> None:  # fmt: skip
    """Serve MODEL and its page, where a person can talk to it, and the Realtime API."""
    if replicas > 1 and (record or certificate):
        raise UserError("Replicas take neither --record nor --certificate; leave these out.")
    if replicas > 1:
        from quintet.serve.replicas import serve_replicas

        serve_replicas(model, host, port, sessions, replicas, key_file, drain)
        return
    from quintet.serve import serve as run
    from quintet.serve.recorder import Recorder

    recorder = Recorder(record, minutes) if record else None
    run(_load(model), host, port, sessions, key_file, certificate, recorder, drain)


@commands.command()
@click.argument("file", type=FOLDER)
@MODEL
def replay(file: Path, model: str) -> None:
    """A session in FILE that `serve --record` wrote, again: status 1 if it answers otherwise."""
    from quintet.commands.replay import replay_file

    told, same = replay_file(file, lambda: _load(model))
    click.echo(told)
    sys.exit(0 if same else 1)


@commands.command()
@click.argument("audio", required=False, type=FOLDER)
@click.option("--image", "images", multiple=True, type=FOLDER, help="A picture to show.")
@click.option("--text", help="Something to type.")
@VOICE
@MODEL
@SEED
@click.option("--out", required=True, type=FOLDER, help="Folder for the reply.")
def talk(
    audio: Path | None, images: tuple[Path, ...], text: str | None, voice: str | None, model: str,
    seed: int, out: Path,
) -> None:  # fmt: skip
    """A live session over files: AUDIO is heard, pictures are seen, the reply is kept.

    Writes reply.wav, reply.txt, picture-N.png, timeline.png and stats.json.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; name a folder with --out.")
    reply = _load(model).talk(audio, list(images), text, seed, voice=voice)
    names = reply.save(out)
    stats = reply.stats
    latency, when = stats["first_audio_seconds"], "never came"
    if latency is not None:
        when = f"{latency} s after the question" if latency else "in the step after the question"
    elif stats["spoken_seconds"]:
        when = "before the question had ended"
    click.echo(f"It writes: {reply.text or '(nothing)'}")
    if images and not (audio or text or reply.text):
        click.echo("It was asked nothing about what it saw; ask with --text, or by a sound.")
    click.echo(
        f"{stats['spoken_seconds']} s of speech, {counted(len(reply.images), 'picture')}; "
        f"first sound {when}; "
        f"a step took {stats['step_milliseconds_p50']} ms (p99 {stats['step_milliseconds_p99']})."
    )
    click.echo(f"In {out}: {', '.join(names)}")


@commands.command()
@MODEL
@SEED
@click.option("--out", type=FOLDER,
              help="Folder for the pictures and sounds of the answers; by default a new temporary "
                   "one.")  # fmt: skip
@click.option("--once", help="Answer this one line and stop; without it, lines are typed.")
@click.option("--image", "images", multiple=True, type=FOLDER,
              help="A picture beside the first line.")  # fmt: skip
@click.option("--sound", "sounds", multiple=True, type=FOLDER,
              help="A sound beside the first line, which may be empty then.")  # fmt: skip
@VOICE
def chat(
    model: str, seed: int, out: Path | None, once: str | None, images: tuple[Path, ...],
    sounds: tuple[Path, ...], voice: str | None,
) -> None:  # fmt: skip
    """Turn by turn in the terminal: type a line; /image FILE and /sound FILE add to the next."""
    from quintet.commands.chat import Chat

    conversation = Chat(_load(model), out, seed, voice)
    for image in images:
        conversation.attach_image(image)
    for sound in sounds:
        conversation.attach_sound(sound)
    if once is not None:
        conversation.say(once)
    else:
        conversation.run()


@commands.command()
@click.argument("file", type=FOLDER)
@click.option("--out", type=FOLDER, help="The token file; by default beside FILE.")
@click.option("--codebooks", type=click.IntRange(min=1), metavar="N",
              help="Of sound: keep only the first N codebooks, for fewer bits.")  # fmt: skip
@click.option("--size", type=click.IntRange(1, 3_072), metavar="N",
              help="Of a picture: pixels on the longer side at most, 1 to 3,072, instead of the "
                   "model's own size.")  # fmt: skip
@MODEL
def encode(
    file: Path, out: Path | None, codebooks: int | None, size: int | None, model: str
) -> None:
    """A sound, a picture or a text FILE to tokens (safetensors), with bit rate and quality.

    A sound may last for hours, be the sound of a film, and needs only a codec's folder as the
    model.

    A picture needs only an image tokenizer's folder. It is taken upright and on white, shrunk to
    the model's size or --size if its longer side is more, and never enlarged.
    """
    from quintet.commands.tokens import encode_file

    click.echo(encode_file(file, out, model, codebooks, size))


@commands.command()
@click.argument("file", type=FOLDER)
@click.option("--out", type=FOLDER,
              help="The media file, by default beside FILE: a sound is written as .wav, a picture "
                   "as .png, .jpg, .webp or .bmp.")  # fmt: skip
@click.option("--tokens", "first", type=click.IntRange(min=1), metavar="N",
              help="Of a picture: show only what its first N tokens give.")  # fmt: skip
@MODEL
def decode(file: Path, out: Path | None, first: int | None, model: str) -> None:
    """A token FILE that `encode` wrote, back to a sound, a picture or a text."""
    from quintet.commands.tokens import decode_file

    click.echo(decode_file(file, out, model, first))


@commands.command()
@click.option("--out", required=True, type=FOLDER)
@click.option("--scenes", default=8, show_default=True, type=click.IntRange(1, 100_000))
@SEED
@click.option("--split", default="train", show_default=True, type=click.Choice(["train", "test"]))
@click.option("--from", "recordings", type=FOLDER, metavar="FOLDER",
              help="Cut the recordings below FOLDER into scenes instead.")  # fmt: skip
@click.option("--world", "which", type=click.Choice(["nano", "wide"]), default="nano",
              show_default=True)  # fmt: skip
@click.option("--writer", default="grammar", show_default=True,
              help="Of the wide world's scripts: grammar, a model, or URL#MODEL.")  # fmt: skip
@click.option("--speakers", is_flag=True, help="The assistant answers in another's voice.")
@processes_option(1)
@RAY
@click.option("--view/--no-view", default=None,
              help="A page for each scene; by default for up to 64 scenes.")  # fmt: skip
@MODEL
def world(
    out: Path, scenes: int, seed: int, split: str, recordings: Path | None,
    processes: int | None, ray: str | None, which: str, writer: str, speakers: bool,
    view: bool | None, model: str,
) -> None:  # fmt: skip
    """Synthetic live scenes: scripts, sound, pictures, labels, statistics, and pages to look at
    them. Scenes that are there are not made again.

    With --from, real ones: recordings with their text beside them (.txt), or conversations on two
    channels, the person on the left and the assistant on the right. See docs/world.md.
    """
    from quintet.commands import world as worlds

    worlds.refuse_unheeded(click.get_current_context())
    folder, workers = _folder(out), workers_of(processes, ray, 1, apart=False)
    if recordings is not None:
        found = worlds.world_from(recordings, folder, workers, view, model)
    else:
        wide = writer if which == "wide" else None
        found = worlds.make_world(folder, scenes, seed, split, workers, view, model, wide, speakers)
    worlds.print_statistics(found)
    click.echo(f"{counted(found['scenes'], 'scene')}; to be seen in {folder / 'index.html'}")


@commands.command()
@click.argument("source", type=FOLDER)
@click.option("--out", required=True, type=FOLDER)
@click.option("--model", default="nano", show_default=True,
              help="Whose tokenizers: name, folder or hub id.")  # fmt: skip
@click.option("--kind", type=click.Choice(["pretrain", "audio", "all"]), default="all",
              show_default=True, help="pretrain: text and pictures; audio: speech.")  # fmt: skip
@click.option("--rows", default=1_024, show_default=True, type=click.IntRange(min=2),
              help="Of a sample at most; what is longer is divided.")  # fmt: skip
@click.option("--documents", default=256, show_default=True, type=click.IntRange(min=1),
              help="For one shard at most.")  # fmt: skip
@processes_option(2)
@RAY
def tokenize(
    source: Path, out: Path, model: str, kind: str, rows: int, documents: int,
    processes: int | None, ray: str | None,
) -> None:  # fmt: skip
    """Your own data to shards of rows, which recipes name as sources to train on.

    SOURCE is a folder of texts, pictures and sounds, of JSON lines, Parquet files or WebDataset
    tars, or one such file. A run that was stopped goes on where it was. See docs/data.md.
    """
    from quintet.commands.tokenize import run_tokenize

    workers = workers_of(processes, ray, 2, apart=True)
    click.echo(run_tokenize(source, out, model, kind, rows, documents, workers))


@commands.command()
@click.argument("recipe")
@click.option("--stage", help="Only this stage.")
@click.option("--out", "runs", default=RUNS, show_default=True, type=FOLDER,
              help="Each recipe has a folder here, and each stage one below it.")  # fmt: skip
def train(recipe: str, stage: str | None, runs: Path) -> None:
    """Train a RECIPE's stages in order. A run that was stopped goes on where it was.

    On several devices, start it with torchrun: .venv/bin/torchrun --nproc-per-node 8 -m quintet
    train RECIPE --stage NAME. See docs/many-devices.md.
    """
    from quintet.stages.recipe import Recipe, is_finished, run_stage
    from quintet.train.processes import leads, leave

    for context in Recipe.load(recipe, runs).only(stage):
        finished = is_finished(context)
        try:
            scores = run_stage(context)
        except KeyboardInterrupt:
            say(f"{context.name} is stopped; the same command goes on from what was last saved.")
            raise
        shown = ", ".join(f"{key} {value:.4g}" for key, value in scores.items())
        if leads():
            click.echo(f"{context.name}{' was finished before' if finished else ''}: {shown}")
    leave()


@commands.command(name="eval")
@click.argument("model", default="nano")
@click.option("--out", required=True, type=FOLDER)
@click.option("--scenes", default=40, show_default=True, type=click.IntRange(1, 10_000),
              help="Held-out scenes of each kind.")  # fmt: skip
@click.option("--minutes", default=30.0, show_default=True, type=click.FloatRange(0, 600),
              help="Of the long silence and of the long session; 0 for neither.")  # fmt: skip
@SEED
@JSON
def evaluate(
    model: str, out: Path, scenes: int, minutes: float, seed: int, json_file: Path | None
) -> None:
    """The report card of MODEL on held-out scenes: report.json and report.html."""
    from quintet.evals.report import evaluate as run
    from quintet.evals.report import print_scores

    report = run(_load(model), _folder(out), scenes, seed, minutes)
    print_scores(report)
    write_json(report, json_file)
    click.echo(f"In {out}: report.json, report.html")


@commands.command()
@click.argument(
    "what",
    type=click.Choice(
        ["live", "sessions", "codec", "codec-quality", "decode", "image", "image-quality",
         "page", "search", "serve", "train", "world"]
    ),
    metavar="WHAT",
)  # fmt: skip
@click.option("--model", default="nano", show_default=True, help="Name, folder or hub id.")
@click.option("--speech", type=FOLDER,
              help="For codec-quality: also judge on the recordings in this folder.")  # fmt: skip
@click.option("--sessions", type=click.IntRange(1, 64),
              help="For serve: people who call at once, 8 by default.")  # fmt: skip
@click.option("--minutes", type=click.FloatRange(0.05, 1_440),
              help="For serve: 10 by default, or 60 with --fast; for page: 3.")  # fmt: skip
@click.option("--fast", is_flag=True,
              help="For serve: in the engine itself, faster than real time.")  # fmt: skip
@JSON
def bench(
    what: str, model: str, speech: Path | None, sessions: int | None, minutes: float | None,
    fast: bool, json_file: Path | None,
) -> None:  # fmt: skip
    """Figures beside a peer or a limit, in one run.

    WHAT is the speed of a step (live), of many sessions (sessions), of the server under people who
    talk (serve), of its page in a browser (page), of the codec (codec), of the image tokenizer
    (image), of the search of codes (search), of decoding (decode), of training (train) or of making
    scenes (world); or how good the codec sounds (codec-quality) or pictures look (image-quality).
    """
    from quintet.commands.bench import run_benchmark

    options = {"speech": speech, "sessions": sessions, "minutes": minutes, "fast": fast}
    write_json({"rows": run_benchmark(what, model, **options)}, json_file)


commands.add_command(plan)


if __name__ == "__main__":
    main()
