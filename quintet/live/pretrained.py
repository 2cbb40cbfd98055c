"""A trained system in a folder: configuration, weights, tokenizers, card."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from quintet.config import MISFITS, OmniConfig, UserError, from_dict
from quintet.live.engine import Engine
from quintet.live.sampling import Sampling
from quintet.live.session import Session
from quintet.live.speakers import (
    check_voices,
    is_voice,
    load_voices,
    save_voices,
    speaker_codes,
)
from quintet.live.talk import Media, Reply, talk
from quintet.live.turns import TurnReply, chat
from quintet.model.omni import Omni
from quintet.tokenizers import codec_folder, image_folder
from quintet.tokenizers.bundle import Tokenizers
from quintet.tokenizers.folders import (
    AUDIO_FILE,
    CARD_FILE,
    CONFIG_FILE,
    IMAGE_FILE,
    TEXT_FILE,
    VOICES_FILE,
    WEIGHTS_FILE,
    find,
    first_line,
    read_config,
    upload,
    write_config,
)
from quintet.tokenizers.weight_files import (
    MAX_SHARD_SIZE,
    check_shard_size,
    load_weights,
    save_weights,
)

Voice = str | Path | np.ndarray  # a name, a recording, a sound, or codes

# What a folder of one tokenizer is, what reads it, and what it is for, by its "kind".
PARTS = {
    codec_folder.KIND: ("an audio tokenizer", "load_codec", "sounds"),
    image_folder.KIND: ("an image tokenizer", "load_image_tokenizer", "pictures"),
}


# Of a model that nobody has described: what a hub shows, and how to load it.
CARD = """---
library_name: quintet
pipeline_tag: any-to-any
---
# {name}

A Quintet model: it hears, sees, reads, writes, speaks and draws at once, on a clock of four steps
a second. `quintet.load("this folder")`, or `quintet serve "this folder"`.
"""


class Quintet:
    """One model with its tokenizers, ready to talk."""

    def __init__(
        self,
        model: Omni,
        tokenizers: Tokenizers,
        card: str = "",
        voices: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        self.model, self.tokenizers, self.card = model.eval(), tokenizers, card
        self.voices = dict(voices or {})  # codes [N, Q] by name: whom it can answer as

    @property
    def config(self) -> OmniConfig:
        return self.model.config

    @classmethod
    def from_pretrained(cls, name: str | Path) -> Quintet:
        """Load a folder, a bundled name such as "nano", or a hub id such as "someone/model".

        Raises:
            UserError: no such model, or one whose files are missing, damaged or of another shape.
        """
        folder = find(str(name))
        config_file, card = folder / CONFIG_FILE, folder / CARD_FILE
        values = read_config(folder)
        if isinstance(values, dict) and (part := PARTS.get(str(values.get("kind")))):
            what, load_it, media = part
            raise UserError(
                f"{name} is {what}, not a whole model; name one such as nano, or use this for "
                f"{media} alone, with quintet encode or quintet.{load_it}."
            )
        try:
            config = from_dict(OmniConfig, values, str(config_file))
            model = Omni(config)
            load_weights(model, folder / WEIGHTS_FILE)
            tokenizers = Tokenizers.load(
                config, folder / TEXT_FILE, folder / AUDIO_FILE, folder / IMAGE_FILE
            )
        except UserError:
            raise
        except MISFITS as error:
            raise UserError(
                f"{config_file} does not describe a model ({first_line(error)}); "
                "restore it from where the model came from."
            ) from None
        about = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
        return cls(model, tokenizers, about, load_voices(folder / VOICES_FILE, config))

    def save_pretrained(self, folder: str | Path, max_shard_size: str = MAX_SHARD_SIZE) -> None:
        """Write the folder that `from_pretrained` reads; weights as float16, those of the
        transformer in files of at most `max_shard_size`, such as "5GB".

        Raises:
            UserError: that is no size, or the voices are not of this model; nothing is written.
        """
        check_shard_size(max_shard_size)
        check_voices(self.voices, self.config)
        folder = Path(folder)
        write_config(self.config.to_dict(), folder)
        save_weights(self.model, folder / WEIGHTS_FILE, max_shard_size)
        save_weights(self.tokenizers.audio, folder / AUDIO_FILE)
        save_weights(self.tokenizers.image, folder / IMAGE_FILE)
        self.tokenizers.text.save(folder / TEXT_FILE)
        if self.voices:
            save_voices(self.voices, folder / VOICES_FILE, self.config)
        else:  # those of a model that was here before
            (folder / VOICES_FILE).unlink(missing_ok=True)
        card = self.card or CARD.format(name=self.config.name)
        (folder / CARD_FILE).write_text(card, encoding="utf-8")

    def to(self, device: str, cuda_graphs: bool = False) -> Quintet:
        """Move the transformer to a device such as "cuda"; the tokenizers stay on the CPU.

        `cuda_graphs` records there what a session computes row by row, and replays it. No GPU has
        run this yet; `tests/model/test_gpu.py` says on yours whether it holds.

        Raises:
            UserError: `cuda_graphs` elsewhere than on a GPU.
        """
        if cuda_graphs and torch.device(device).type != "cuda":
            raise UserError(
                f'cuda_graphs is for "cuda", and the device is {device!r}; leave it out.'
            )
        self.model.to(device)
        self.model.cuda_graphs = cuda_graphs
        return self

    def push_to_hub(self, repository: str) -> None:
        """Upload the folder to a Hugging Face repository, which is made if it does not exist."""
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            upload(Path(folder), repository)

    def speaker(self, voice: Voice | None) -> np.ndarray | None:
        """Codes [N, Q] of a voice: a name of `voices`, a recording's path, or a sound (float32
        [S] at 24 kHz) in which somebody speaks. None: the model's own. Such codes (int32) are
        given back, so that who asks often in one voice has it encoded once.

        Raises:
            UserError: no such name or file, or less than a second of speech.
        """
        if isinstance(voice, np.ndarray) and is_voice(voice, self.config.audio):
            return voice
        return speaker_codes(voice, self.voices, self.tokenizers)

    def session(
        self, sampling: Sampling | None = None, seed: int = 0, voice: Voice | None = None
    ) -> Session:
        """A live session: `step` it with 250 ms of sound at a time; `voice` as `speaker` has it.

        Begin with a step of silence: few training scenes begin with a request, and nano misses
        some of those that are typed into the first step.
        """
        return Session(self.model, self.tokenizers, sampling, seed, speaker=self.speaker(voice))

    def engine(self, seats: int) -> Engine:
        """Room for so many live sessions, stepped together."""
        return Engine(self.model, self.tokenizers, seats)

    def talk(
        self,
        audio: np.ndarray | str | Path | None = None,
        image: Media | Sequence[Media] | None = None,
        text: str | None = None,
        seed: int = 0,
        sampling: Sampling | None = None,
        voice: Voice | None = None,
    ) -> Reply:
        """A live session over files: hear `audio`, see `image`s, read `text`, and answer."""
        return talk(self.session(sampling, seed, voice), audio, image, text)

    def chat(
        self,
        messages: Sequence[dict[str, object]],
        seed: int = 0,
        sampling: Sampling | None = None,
        tell: Callable[[str], None] | None = None,
        pause: Callable[[], None] | None = None,
        voice: Voice | None = None,
    ) -> TurnReply:
        """Turn mode: answer the last of `messages`, each {"role", "content": [parts]}.

        `tell` is given the words of the answer one after another, while it is being made; `pause`
        is called between its rows, and those that it reads, and may wait, so that others have the
        processor.
        """
        chosen, speaker = sampling or Sampling(), self.speaker(voice)
        return chat(self.model, self.tokenizers, messages, chosen, seed, tell, pause, speaker)


def load(name: str | Path = "nano") -> Quintet:
    """`Quintet.from_pretrained`, as `quintet.load`."""
    return Quintet.from_pretrained(name)


def assemble(model_file: Path, tokenizer_files: Sequence[Path], config: OmniConfig) -> Quintet:
    """A system from the files that training stages exported (text, audio, image tokenizer)."""
    model = Omni(config)
    load_weights(model, model_file)
    return Quintet(model, Tokenizers.load(config, *tokenizer_files))
