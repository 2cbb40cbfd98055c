"""`quintet chat`: turn mode in the terminal; pictures and sounds of the answers are saved."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import click
import numpy as np

from quintet.config import UserError
from quintet.live import Quintet
from quintet.media.audio import read_audio, write_audio
from quintet.media.images import read_image, write_image

LONGEST_SOUND = 20.0  # seconds
WAITS = "goes with your next message; type it."
HELP = "/image FILE and /sound FILE add to your next message; /new forgets; /quit leaves."


class Chat:
    """One conversation.

    The nano model learned single requests with their answers, so each turn is asked afresh;
    what came before would be noise to it.

    Args:
        out: the folder for pictures and sounds; None is a new temporary one, once it is needed.
        voice: whom it answers as: a name of the model's or a recording, which is read and encoded
            once; None, the model's own.

    Raises:
        UserError: `out` is a file, or there is no such voice.
    """

    def __init__(
        self, model: Quintet, out: Path | None, seed: int, voice: str | None = None
    ) -> None:
        if out is not None and out.exists() and not out.is_dir():
            raise UserError(f"{out} is a file; name a folder with --out.")
        self.voice: np.ndarray | None = None  # codes [N, Q]
        if voice is not None:  # a mistake is told before anything is typed
            self.voice = model.speaker(voice)
        self.model, self.out, self.seed = model, out, seed
        self.parts: list[object] = []
        self.turns = 0

    def attach_image(self, path: Path) -> None:
        self.parts.append(read_image(path))

    def attach_sound(self, path: Path) -> None:
        self.parts.append(read_audio(path, LONGEST_SOUND))

    def say(self, line: str) -> None:
        """Send `line` with what is attached; print and save the answer.

        Raises:
            UserError: there is nothing to send.
        """
        parts = [*self.parts, line] if line.strip() else self.parts
        if not parts:
            raise UserError("There is nothing to answer; type something.")
        message: dict[str, object] = {"role": "user", "content": parts}
        reply = self.model.chat([message], self.seed + self.turns, voice=self.voice)
        self.parts = []  # only now: after a refusal they are still attached
        self.turns += 1
        click.echo(reply.text or "(nothing)")
        if not reply.images and not len(reply.audio):
            return
        if self.out is None:
            self.out = Path(tempfile.mkdtemp(prefix="quintet-chat-"))
        self.out.mkdir(parents=True, exist_ok=True)
        number = _last_number(self.out) + 1
        for index, image in enumerate(reply.images):
            path = self.out / f"{number:03d}-{index}.png"
            write_image(path, image)
            click.echo(f"  picture: {path}")
        if len(reply.audio):
            path = self.out / f"{number:03d}.wav"
            write_audio(path, reply.audio)
            click.echo(f"  sound: {path}")

    def run(self) -> None:
        """Read lines until the input ends; a mistake is told and the conversation goes on."""
        click.echo(HELP)
        if self.parts:
            click.echo(f"What you attached {WAITS}")
        while True:
            try:
                line = input("> ").strip()
            except EOFError:
                return
            if line == "/quit":
                return
            try:
                self._line(line)
            except UserError as error:
                click.echo(str(error), err=True)

    def _line(self, line: str) -> None:
        command, _, rest = line.partition(" ")
        if command in ("/image", "/sound") and not rest.strip():
            raise UserError(f"Name a file: {command} FILE.")
        if command == "/image":
            self.attach_image(Path(rest))
            click.echo(f"{rest} {WAITS}")
        elif command == "/sound":
            self.attach_sound(Path(rest))
            click.echo(f"{rest} {WAITS}")
        elif command == "/new":
            self.parts = []
            click.echo("Forgotten; nothing is attached.")
        elif command.startswith("/"):
            raise UserError(f"There is no command {command}. {HELP}")
        else:
            self.say(line)


def _last_number(folder: Path) -> int:
    """Of the answers that an earlier conversation has saved there, which are kept."""
    found = [re.match(r"(\d+)(-\d+\.png|\.wav)$", path.name) for path in folder.iterdir()]
    return max((int(one[1]) for one in found if one), default=0)
