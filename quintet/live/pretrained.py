"""A trained system in a folder: configuration, weights, tokenizers, card."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from huggingface_hub import HfApi, snapshot_download
from safetensors.torch import save_file

from quintet.config import MISFITS, OmniConfig, UserError, from_dict
from quintet.live.sampling import Sampling
from quintet.live.session import Session
from quintet.live.talk import Media, Reply, talk
from quintet.live.turns import TurnReply, chat
from quintet.model.omni import Omni
from quintet.tokenizers.bundle import AUDIO_FILE, IMAGE_FILE, TEXT_FILE, Tokenizers, load_weights

BUNDLED = Path(__file__).parent.parent / "bundled"
CONFIG_FILE, WEIGHTS_FILE, CARD_FILE = "config.json", "model.safetensors", "README.md"
FILES = [CONFIG_FILE, WEIGHTS_FILE, CARD_FILE, TEXT_FILE, AUDIO_FILE, IMAGE_FILE]


class Quintet:
    """One model with its tokenizers, ready to talk."""

    def __init__(self, model: Omni, tokenizers: Tokenizers, card: str = "") -> None:
        self.model, self.tokenizers, self.card = model.eval(), tokenizers, card

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
        try:
            values = json.loads(config_file.read_text(encoding="utf-8"))
        except (ValueError, RecursionError):
            raise UserError(
                f"{config_file} is not JSON; restore it from where the model came from."
            ) from None
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
                f"{config_file} does not describe a model ({_first_line(error)}); "
                "restore it from where the model came from."
            ) from None
        about = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
        return cls(model, tokenizers, about)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the folder that `from_pretrained` reads; weights as float16."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        config = json.dumps(self.config.to_dict(), indent=2) + "\n"
        (folder / CONFIG_FILE).write_text(config, encoding="utf-8")
        for module, file in (
            (self.model, WEIGHTS_FILE),
            (self.tokenizers.audio, AUDIO_FILE),
            (self.tokenizers.image, IMAGE_FILE),
        ):
            weights = {
                k: v.half() if v.is_floating_point() else v for k, v in module.state_dict().items()
            }
            save_file({k: v.contiguous() for k, v in weights.items()}, folder / file)
            (folder / file).chmod(0o644)  # written for the owner alone, but meant to be shared
        self.tokenizers.text.save(folder / TEXT_FILE)
        if self.card:
            (folder / CARD_FILE).write_text(self.card, encoding="utf-8")

    def push_to_hub(self, repository: str) -> None:
        """Upload the folder to a Hugging Face repository, which is made if it does not exist."""
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            api = HfApi()
            api.create_repo(repository, exist_ok=True)
            api.upload_folder(repo_id=repository, folder_path=folder)

    def session(self, sampling: Sampling | None = None, seed: int = 0) -> Session:
        """A live session: `step` it with 250 ms of sound at a time."""
        return Session(self.model, self.tokenizers, sampling, seed)

    def talk(
        self,
        audio: np.ndarray | str | Path | None = None,
        image: Media | Sequence[Media] | None = None,
        text: str | None = None,
        seed: int = 0,
        sampling: Sampling | None = None,
    ) -> Reply:
        """A live session over files: hear `audio`, see `image`s, read `text`, and answer."""
        return talk(self.session(sampling, seed), audio, image, text)

    def chat(
        self,
        messages: Sequence[dict[str, object]],
        seed: int = 0,
        sampling: Sampling | None = None,
    ) -> TurnReply:
        """Turn mode: answer the last of `messages`, each {"role", "content": [parts]}."""
        return chat(self.model, self.tokenizers, messages, sampling or Sampling(), seed)


def find(name: str) -> Path:
    """The folder of a model: a path, a bundled name, or a hub id (which is downloaded).

    Raises:
        UserError: there is no such model.
    """
    for folder in (Path(name), BUNDLED / name):
        if (folder / CONFIG_FILE).is_file():
            return folder
    if Path(name).is_dir():
        raise UserError(
            f"{name} holds no {CONFIG_FILE}, so it is not a model; name another folder."
        )
    bundled = ", ".join(sorted(p.parent.name for p in BUNDLED.glob(f"*/{CONFIG_FILE}"))) or "none"
    # A mistyped path such as runs/typo looks like a hub id, but its parent folder exists.
    if name.count("/") == 1 and not name.startswith((".", "/")) and not Path(name).parent.exists():
        return _from_hub(name, bundled)
    raise UserError(
        f"There is no model {name!r}; name a folder with a {CONFIG_FILE}, "
        f"or one that is bundled: {bundled}."
    )


def _from_hub(name: str, bundled: str) -> Path:
    try:
        return Path(snapshot_download(name, allow_patterns=FILES))
    except Exception as error:  # the library raises many kinds, all of which mean "not there"
        raise UserError(
            f"The model {name!r} is neither a folder nor on the hub ({_first_line(error)}); "
            f"name a folder, or one that is bundled: {bundled}."
        ) from None


def _first_line(error: Exception) -> str:
    """What `error` says, or what it is called if it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def load(name: str | Path = "nano") -> Quintet:
    """`Quintet.from_pretrained`, as `quintet.load`."""
    return Quintet.from_pretrained(name)


def assemble(model_file: Path, tokenizer_files: Sequence[Path], config: OmniConfig) -> Quintet:
    """A system from the files that training stages exported (text, audio, image tokenizer)."""
    model = Omni(config)
    load_weights(model, model_file)
    return Quintet(model, Tokenizers.load(config, *tokenizer_files))
