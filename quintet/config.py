"""Every size of the system, as frozen dataclasses that a preset file fills.

A preset is a TOML file with one table for each dataclass; an unknown key is an error, so a
misspelt setting never passes silently. Nothing here imports another part of Quintet.
"""

from __future__ import annotations

import dataclasses
import math
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

SAMPLE_RATE = 24_000  # samples of sound per second, everywhere inside the system
STEPS_PER_SECOND = 4  # the clock of the live session
STEP_SAMPLES = SAMPLE_RATE // STEPS_PER_SECOND  # 6,000 samples of sound in one step
MAX_TEXT_TOKENS = 512  # of one typed message; the key-value cache must have room for it

GROUP_CHANNELS = 8  # of the image tokenizer, normalized together with normalization "group"

PRESETS = Path(__file__).parent / "presets"

T = TypeVar("T")


class UserError(ValueError):
    """Bad input from a person: one clear sentence that ends with the remedy."""


# What a person is told to write where a value of such a type belongs: one of them, and several.
IN_WORDS: dict[Any, tuple[str, str]] = {
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    str: ("text in quotes", "texts in quotes"),
    bool: ("true or false", "values true or false"),
}

# What values of a wrong type or size raise, in a configuration or in what is built from it.
MISFITS = (TypeError, ValueError, AttributeError, KeyError, RuntimeError, ZeroDivisionError)


@dataclass(frozen=True)
class TextConfig:
    """SentencePiece BPE with byte fallback."""

    vocab_size: int = 1_024


@dataclass(frozen=True)
class AudioConfig:
    """The causal convolutional codec with residual vector quantization.

    Raises:
        UserError: a size that no codec can have.
    """

    channels: int = 16  # after the first convolution; doubled at each strided one
    strides: tuple[int, ...] = (5, 5, 8, 10)
    kernel_size: int = 7  # of the first and the last convolution of each half
    residual_kernel_sizes: tuple[int, int] = (3, 3)
    residual_shortcut: Literal["identity", "conv"] = "identity"  # conv: 1x1, as in EnCodec
    lstm_layers: int = 2
    latent_dim: int = 64
    num_codebooks: int = 4
    codebook_size: int = 1_024

    def __post_init__(self) -> None:
        if not self.strides or min(self.strides) < 1:
            raise UserError(f"strides are {list(self.strides)}; give at least one, each 1 or more.")
        if len(self.residual_kernel_sizes) != 2 or min(self.residual_kernel_sizes) < 1:
            raise UserError(
                f"residual_kernel_sizes are {list(self.residual_kernel_sizes)}; "
                "give two, each 1 or more."
            )
        if self.residual_shortcut not in ("identity", "conv"):
            raise UserError(
                f"residual_shortcut is {self.residual_shortcut!r}; use 'identity' or 'conv'."
            )
        least = {"channels": 2, "kernel_size": 1, "lstm_layers": 1, "latent_dim": 1,
                 "num_codebooks": 1, "codebook_size": 2}  # fmt: skip
        for name, smallest in least.items():
            if getattr(self, name) < smallest:
                raise UserError(
                    f"{name} is {getattr(self, name)}; raise it to at least {smallest}."
                )

    @property
    def hop(self) -> int:
        """Samples of sound in one latent frame."""
        return math.prod(self.strides)

    @property
    def frames_per_step(self) -> float:
        """Latent frames in one step of the clock; not always a whole number (18.75 [ref])."""
        return STEP_SAMPLES / self.hop

    @property
    def bits_per_second(self) -> float:
        return SAMPLE_RATE / self.hop * self.num_codebooks * math.log2(self.codebook_size)

    def digit_size(self, digits: int) -> int:
        """Entries of a digit where a code is written in so many.

        Raises:
            UserError: no whole number of entries gives the codebook.
        """
        size = round(self.codebook_size ** (1 / digits))
        if size**digits != self.codebook_size:
            raise UserError(
                f"A codebook of {self.codebook_size:,} codes cannot be written in {digits} digits; "
                "use a square number of codes, or another audio_head than 'digits'."
            )
        return size

    def frames_before(self, step: int) -> int:
        """Latent frames that are complete before `step` begins: a frame belongs to the step
        in which its last sample lies."""
        return step * STEP_SAMPLES // self.hop

    def step_of(self, frame: int) -> int:
        """The step in which the last sample of `frame` lies."""
        return ((frame + 1) * self.hop - 1) // STEP_SAMPLES

    def frames_in(self, step: int) -> int:
        """Latent frames of one step: constant if the hop divides 6,000, else 18 or 19 [ref]."""
        return self.frames_before(step + 1) - self.frames_before(step)


@dataclass(frozen=True)
class ImageConfig:
    """The VQ image tokenizer; in every preset the product of its strides is 6, as in the
    reference.

    Raises:
        UserError: a size that no tokenizer can have.
    """

    size: int = 72  # pixels on a side
    channels: int = 32
    channel_multipliers: tuple[int, ...] = (1, 2, 4)
    strides: tuple[int, ...] = (2, 3)
    residual_blocks: int = 1
    latent_dim: int = 16
    codebook_size: int = 1_024
    # What is normalized together: the channels of a pixel, or groups of channels over the picture.
    normalization: Literal["pixel", "group"] = "pixel"

    def __post_init__(self) -> None:
        if not self.strides or min(self.strides) < 1:
            raise UserError(f"strides are {list(self.strides)}; give at least one, each 1 or more.")
        if len(self.channel_multipliers) != len(self.strides) + 1:
            raise UserError(
                f"There are {len(self.channel_multipliers)} channel_multipliers and "
                f"{len(self.strides)} strides; give one multiplier more than strides."
            )
        if min(self.channel_multipliers) < 1:
            raise UserError(
                f"channel_multipliers are {list(self.channel_multipliers)}; make each 1 or more."
            )
        if self.size < self.patch or self.size % self.patch:
            raise UserError(
                f"The image size is {self.size}; make it a multiple of {self.patch}, the product "
                "of the strides."
            )
        if self.normalization not in ("pixel", "group"):
            raise UserError(f"normalization is {self.normalization!r}; use 'pixel' or 'group'.")
        limits = {"channels": (1, 4_096), "residual_blocks": (0, 64), "latent_dim": (1, 4_096),
                  "codebook_size": (2, 2**24)}  # fmt: skip
        for name, (least, most) in limits.items():
            if not least <= getattr(self, name) <= most:
                raise UserError(
                    f"{name} is {getattr(self, name)}; make it at least {least} and at most {most}."
                )
        odd = [m for m in self.channel_multipliers if self.channels * m % GROUP_CHANNELS]
        if self.normalization == "group" and odd:
            raise UserError(
                f"{self.channels} x {odd[0]} channels are no multiple of {GROUP_CHANNELS}, the "
                "size of a group; change channels or channel_multipliers."
            )

    @property
    def patch(self) -> int:
        """Pixels on a side of what one token stands for."""
        return math.prod(self.strides)

    @property
    def grid(self) -> int:
        """Tokens on a side of the picture."""
        return self.size // self.patch

    @property
    def num_tokens(self) -> int:
        return self.grid**2

    @property
    def bits_per_pixel(self) -> float:
        return math.log2(self.codebook_size) / self.patch**2


@dataclass(frozen=True)
class ModelConfig:
    """The decoder-only transformer and its two heads."""

    d_model: int = 192
    d_position: int = 32
    d_time: int = 32
    num_layers: int = 6
    num_heads: int = 6
    num_kv_heads: int = 2
    d_feed_forward: int = 512
    audio_head: Literal["parallel", "chained", "digits"] = "chained"
    z_loss: float = 1e-5

    def __post_init__(self) -> None:
        if self.d_model % self.num_heads or self.num_heads % self.num_kv_heads:
            raise UserError(
                f"d_model {self.d_model}, num_heads {self.num_heads} and num_kv_heads "
                f"{self.num_kv_heads} must divide one another; choose sizes that do."
            )
        if self.d_position % 2 or self.d_time % 2 or self.d_token <= 0:
            raise UserError(
                "d_position and d_time must be even and, with the flag, smaller than d_model; "
                "lower them."
            )

    @property
    def digits_per_code(self) -> int:
        """Choices that make one audio code."""
        return 2 if self.audio_head == "digits" else 1

    @property
    def d_token(self) -> int:
        """Width of the token's part: position, time and the source flag take the rest."""
        return self.d_model - self.d_position - self.d_time - 1


@dataclass(frozen=True)
class LiveConfig:
    """What one step of a live session may cost, and how far back it looks."""

    text_image_rows_per_step: int = 16  # the budget of the text+image stream
    window_steps: int = 80  # 20 s; older steps leave the context, the system prompt stays
    max_rows: int = 2_048  # of the key-value cache, prompt included

    def __post_init__(self) -> None:
        if self.window_steps < 1 or self.text_image_rows_per_step < 1:
            raise UserError(
                f"window_steps is {self.window_steps} and text_image_rows_per_step is "
                f"{self.text_image_rows_per_step}; set both to at least 1."
            )


@dataclass(frozen=True)
class OmniConfig:
    """A whole system: what a preset file holds and what a model's folder records."""

    name: str = "nano"
    text: TextConfig = field(default_factory=TextConfig)
    audio: AudioConfig = field(default_factory=AudioConfig)
    image: ImageConfig = field(default_factory=ImageConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    live: LiveConfig = field(default_factory=LiveConfig)

    def __post_init__(self) -> None:
        if self.live.max_rows < self.rows_of_fullest_step:
            raise UserError(
                f"max_rows is {self.live.max_rows} and one step may have "
                f"{self.rows_of_fullest_step} rows; raise it to at least that."
            )

    @property
    def rows_of_fullest_step(self) -> int:
        """Rows that a step can add: the longest message, a picture and sound, then the answer."""
        frames = math.ceil(self.audio.frames_per_step)
        received = MAX_TEXT_TOKENS + self.image.num_tokens + frames
        return received + self.live.text_image_rows_per_step + frames

    @property
    def text_image_vocab_size(self) -> int:
        """Text entries first, then image codes: one vocabulary, without `No Output`."""
        return self.text.vocab_size + self.image.codebook_size

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def from_dict(kind: type[T], values: dict[str, Any], where: str) -> T:
    """Fill dataclass `kind` from nested dictionaries; lists become tuples.

    Raises:
        UserError: a key that `kind` does not have, or a value of another type than it has there;
            `where` names the file in the message.
    """
    if not isinstance(values, dict):
        raise UserError(
            f"{where} holds {str(values)[:40]!r} where the settings of {kind.__name__} belong; "
            "put a table there."
        )
    hints = get_type_hints(kind)
    known = [f.name for f in dataclasses.fields(kind)]  # type: ignore[arg-type]
    filled: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known:
            raise UserError(
                f"{where} sets {key!r}, which {kind.__name__} does not have; "
                f"use one of: {', '.join(known)}."
            )
        if dataclasses.is_dataclass(hints[key]):
            value = from_dict(hints[key], value, where)  # type: ignore[arg-type]
        else:
            check_type(key, value, hints[key], where)
        filled[key] = tuple(value) if isinstance(value, list) else value
    return kind(**filled)


def check_type(key: str, value: Any, kind: Any, where: str) -> None:
    """Compare what a TOML or JSON file sets `key` to with the annotation `kind` of that setting:
    a plain type, a dataclass (a table), a `tuple`, a `dict` by names, or a `Literal`. A whole
    number is a number too; true and false are neither.

    Raises:
        UserError: it is of another type; `where` names the file in the message.
    """
    if not _fits(value, kind):
        raise UserError(f"{where} sets {key!r} to {value!r:.40}; make it {_in_words(kind)}.")


def _fits(value: Any, kind: Any) -> bool:
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Literal:
        return value in parts
    if origin is tuple:
        whole = isinstance(value, list | tuple)
        kinds = parts[:1] * len(value) if whole and parts[-1] is ... else parts
        return whole and len(value) == len(kinds) and all(map(_fits, value, kinds))
    if origin is dict:
        return isinstance(value, dict) and all(_fits(inner, parts[1]) for inner in value.values())
    if dataclasses.is_dataclass(kind):
        return isinstance(value, dict)
    if isinstance(value, bool):  # which Python counts among the whole numbers
        return kind is bool
    if kind is float:
        return isinstance(value, int | float) and abs(value) < math.inf
    return isinstance(value, kind)


def _in_words(kind: Any) -> str:
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Literal:
        return " or ".join(map(repr, parts))
    if origin is tuple:
        count = "" if parts[-1] is ... else f"{len(parts)} "
        if get_origin(parts[0]) is Literal:
            return f"a list of {count}{_in_words(parts[0])}"
        return f"a list of {count}{IN_WORDS[parts[0]][1]}"
    if origin is dict:
        return f"a table of {IN_WORDS[parts[1]][1]}"
    return "a table" if dataclasses.is_dataclass(kind) else IN_WORDS[kind][0]


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        UserError: the file is missing or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"There is no file {path}; check the name.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not a TOML file ({error}); mend or replace it.") from None


def load_preset(name: str) -> OmniConfig:
    """The preset `name`, such as "nano" or "reference", or a preset file of your own.

    Raises:
        UserError: no such preset, or one whose settings do not fit together.
    """
    path = Path(name) if name.endswith(".toml") else PRESETS / f"{name}.toml"
    if not path.is_file():
        names = ", ".join(sorted(p.stem for p in PRESETS.glob("*.toml")))
        raise UserError(f"There is no preset {name!r}; name a file, or one of: {names}.")
    try:
        return from_dict(OmniConfig, read_toml(path), str(path))
    except UserError:
        raise
    except MISFITS as error:
        raise UserError(f"{path} does not describe a model ({error}); mend it.") from None
