"""Every size of the system, as frozen dataclasses that a preset file fills.

A preset is a TOML file with one table for each dataclass; an unknown key is an error, so a
misspelt setting never passes silently. Nothing here imports another part of Quintet, but
`quintet.settings`. Here and elsewhere [ref] marks what the reference says (docs/reference.md).
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from quintet.settings import UserError, counted, from_dict, read_toml

SAMPLE_RATE = 24_000  # samples of sound per second, everywhere inside the system
STEPS_PER_SECOND = 4  # the clock of the live session
STEP_SAMPLES = SAMPLE_RATE // STEPS_PER_SECOND  # 6,000 samples of sound in one step
LEAST_SPEAKER_STEPS, MOST_SPEAKER_STEPS = 4, 8  # heard of whose voice is taken: one to two seconds
MAX_TEXT_TOKENS = 512  # of one typed message; the key-value cache must have room for it

GROUP_CHANNELS = 8  # of the image tokenizer, normalized together with normalization "group"

PRESETS = Path(__file__).parent / "presets"
RUNS = Path("runs")  # of recipes, unless `--out` names another folder

# What values of a wrong type or size raise, in a configuration or in what is built from it.
MISFITS = (TypeError, ValueError, AttributeError, KeyError, RuntimeError, ZeroDivisionError)


def _check_least(sizes: object, least: dict[str, int]) -> None:
    """Refuse a size that is smaller than makes sense.

    Raises:
        UserError: one is.
    """
    for name, smallest in least.items():
        if getattr(sizes, name) < smallest:
            raise UserError(f"{name} is {getattr(sizes, name)}; raise it to at least {smallest}.")


@dataclass(frozen=True)
class TextConfig:
    """SentencePiece BPE with byte fallback.

    Raises:
        UserError: no entries.
    """

    vocab_size: int = 1_024

    def __post_init__(self) -> None:
        _check_least(self, {"vocab_size": 1})


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
        _check_least(self, least)

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
                f"{counted(len(self.strides), 'stride')}; give one multiplier more than strides."
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
    """The decoder-only transformer and its two heads.

    Raises:
        UserError: a size that no transformer can have.
    """

    d_model: int = 192
    d_position: int = 32
    d_time: int = 32
    num_layers: int = 6
    num_heads: int = 6
    num_kv_heads: int = 2
    d_feed_forward: int = 512
    rotary: bool = False  # queries and keys are turned by place and time, besides or instead
    audio_head: Literal["parallel", "chained", "digits"] = "chained"
    z_loss: float = 1e-5

    def __post_init__(self) -> None:
        least = {"d_model": 1, "d_position": 0, "d_time": 0, "num_layers": 1, "num_heads": 1,
                 "num_kv_heads": 1, "d_feed_forward": 1, "z_loss": 0}  # fmt: skip
        _check_least(self, least)
        if self.d_model % self.num_heads or self.num_heads % self.num_kv_heads:
            raise UserError(
                f"d_model {self.d_model}, num_heads {self.num_heads} and num_kv_heads "
                f"{self.num_kv_heads} must divide one another; choose sizes that do."
            )
        if self.rotary and self.head_width % 4:
            raise UserError(
                f"Heads are {self.head_width} wide, and rotary needs a multiple of 4: pairs that "
                "turn by place and as many by time; change d_model or num_heads."
            )
        if self.d_position % 2 or self.d_time % 2 or self.d_token <= 0:
            raise UserError(
                "d_position and d_time must be even and, with the flag, smaller than d_model; "
                "lower them."
            )
        if not (self.rotary or (self.d_position > 0 and self.d_time > 0)):
            raise UserError(
                f"d_position is {self.d_position} and d_time is {self.d_time}, so nothing tells "
                "the order of rows or their time; raise both, or set rotary = true."
            )

    @property
    def head_width(self) -> int:
        return self.d_model // self.num_heads

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


def preset_file(name: str) -> Path:
    """Where the preset `name` is, or a preset file of your own.

    Raises:
        UserError: no such preset.
    """
    path = Path(name) if name.endswith(".toml") else PRESETS / f"{name}.toml"
    if not path.is_file():
        names = ", ".join(sorted(p.stem for p in PRESETS.glob("*.toml")))
        raise UserError(f"There is no preset {name!r}; name a file, or one of: {names}.")
    return path


def load_preset(name: str) -> OmniConfig:
    """The preset `name`, such as "nano" or "reference", or a preset file of your own.

    Raises:
        UserError: no such preset, or one whose settings do not fit together.
    """
    path = preset_file(name)
    try:
        return from_dict(OmniConfig, read_toml(path), str(path))
    except UserError:
        raise
    except MISFITS as error:
        raise UserError(f"{path} does not describe a model ({error}); mend it.") from None
