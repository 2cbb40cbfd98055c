"""What one of many devices holds in a training step. Pure arithmetic.

It models what `train.parallel` does: float32 weights, gradients and AdamW moments, cut among the
devices of a column of the mesh (FSDP2: Zhao et al. 2023; ZeRO stage 3: Rajbhandari et al. 2020);
matrices of a layer cut among those of a row (tensor parallel: Shoeybi et al. 2019); rows of a line
cut among neighbours of a column (context parallel: Jacobs et al. 2023); activations
and gathered weights in bfloat16, summed gradients in float32; a block keeps its input only and is
computed again backward (Chen et al. 2016). `train.dry_run` measures the same step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass

from quintet.config import ModelConfig, OmniConfig, UserError
from quintet.timeline.packing import padded

HALF, FULL = 2, 4  # bytes of a bfloat16 and of a float32
MOMENTS = 2 * FULL  # bytes of AdamW's two averages of one parameter
GIB = 2**30


@dataclass(frozen=True)
class Layout:
    """A step: on how many devices, and of what.

    Raises:
        UserError: numbers that do not divide.
    """

    devices: int
    _: KW_ONLY
    tensor: int = 1  # devices that share the layers of one model
    context: int = 1  # groups of so many devices that share the rows of each sample
    samples: int = 1  # of each group of `tensor` times `context` devices
    rows: int = 8_192  # of a sample
    text_share: float = 0.5  # of the rows, at which the text+image head is asked
    audio_share: float = 0.5  # and the audio head
    checkpointing: bool = True

    def __post_init__(self) -> None:
        for name in ("devices", "tensor", "context", "samples", "rows"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; make it at least 1.")
        shares = {"--text-asked": self.text_share, "--audio-asked": self.audio_share}
        for option, share in shares.items():
            if not 0 <= share <= 1:
                raise UserError(f"{option} is {share}; make it a number from 0 to 1.")
        if self.devices % self.together:
            fewer = self.devices // self.together * self.together
            near = f"{fewer} or {fewer + self.together}" if fewer else f"{self.together}"
            raise UserError(
                f"{self.devices} devices are no multiple of {self.together}, among which layers "
                f"and samples are cut; use {near}."
            )

    @property
    def together(self) -> int:
        """Devices that have the same samples."""
        return self.tensor * self.context

    @property
    def data(self) -> int:
        """Groups of `tensor` devices, each with rows of its own."""
        return self.devices // self.tensor

    @property
    def piece_rows(self) -> int:
        """Rows of a sample that such a group has."""
        return padded(self.rows, self.context) // self.context

    @property
    def local_rows(self) -> int:
        """Rows that it computes in a step."""
        return self.samples * self.piece_rows

    @property
    def asked(self) -> tuple[int, int]:
        """Rows of such a group at which the text+image head and the audio head are asked."""
        return round(self.text_share * self.local_rows), round(self.audio_share * self.local_rows)


@dataclass(frozen=True)
class Sizes:
    """Parameters by part, as `Omni` makes them."""

    text_image_table: int
    audio_table: int
    attention: int  # of all layers
    feed_forward: int
    norms: int
    text_image_head: int
    audio_head: int

    @property
    def total(self) -> int:
        return sum(vars(self).values())


def _attention(model: ModelConfig) -> tuple[int, int]:
    """Parameters of a layer's two attention matrices."""
    keys = model.head_width * model.num_kv_heads
    return model.d_model * (model.d_model + 2 * keys), model.d_model**2


def _choices(config: OmniConfig) -> tuple[int, int, int]:
    """Choices of a frame, entries of each with `No Output`, and choices that see those before."""
    digits = config.model.digits_per_code
    choices = config.audio.num_codebooks * digits
    chained = 0 if config.model.audio_head == "parallel" else choices - 1
    return choices, config.audio.digit_size(digits) + 1, chained


def logits_per_row(config: OmniConfig) -> tuple[int, int]:
    """Of an asked row, by the text+image head and by the audio head."""
    choices, entries, _ = _choices(config)
    return config.text_image_vocab_size + 1, choices * entries


def sizes(config: OmniConfig) -> Sizes:
    model, width = config.model, config.model.d_model
    choices, entries, chained = _choices(config)
    mixer = width + 2 * (width**2 + width)
    return Sizes(
        text_image_table=config.text_image_vocab_size * model.d_token,
        audio_table=config.audio.num_codebooks * config.audio.codebook_size * model.d_token,
        attention=model.num_layers * sum(_attention(model)),
        feed_forward=model.num_layers * 3 * width * model.d_feed_forward,
        norms=model.num_layers * 2 * (width + width // model.num_heads) + width,
        text_image_head=(config.text_image_vocab_size + 1) * width,
        audio_head=choices * entries * width + chained * (entries * width + mixer),
    )


def not_multiplied(config: OmniConfig) -> int:
    """Parameters of the audio head that rows look up, or that are added or scaled by: the chain's
    tables, norms and biases."""
    _, entries, chained = _choices(config)
    return chained * (entries + 3) * config.model.d_model


@dataclass(frozen=True)
class Unit:
    """What FSDP gathers as one. Numbers are of one device."""

    name: str
    parameters: int  # of this device's cut, when gathered
    gathers: int  # in a step; 0 if it is not used
    kept: float  # bytes that forward keeps until this unit's backward
    working: float  # bytes that backward needs beside it, before all gradients are there
    loss: float = 0.0  # bytes that the loss on its output needs, before its backward
    reduced: int | None = None  # parameters whose gradients are summed at once; None is all


def kept_by_layer(model: ModelConfig, layout: Layout, checkpointing: bool) -> float:
    """Bytes of activations that a layer keeps for backward.

    With checkpointing its input. Without: the inputs of both norms and of all matrices, queries
    and keys before their norm, after it and when scaled, the output of the fused attention and a
    number a head, both factors of SwiGLU and its gate before SiLU; and where rows are cut, values
    and that output once more, exchanged.
    """
    if checkpointing:
        return layout.local_rows * _stream(layout) * model.d_model
    keys = model.head_width * model.num_kv_heads
    cut = HALF * (4 * model.d_model + 4 * keys + 4 * model.d_feed_forward)
    if layout.context > 1:
        cut += HALF * (model.d_model + keys)
    statistics = FULL * (2 * model.num_heads + model.num_kv_heads)
    whole = 2 * (_stream(layout) + HALF) * model.d_model + 2 * FULL
    return layout.local_rows * (whole + (cut + statistics) / layout.tensor)


def _stream(layout: Layout) -> int:
    """Bytes of a number that layers hand on: autocast, which is all that one device alone has,
    leaves sums in float32."""
    return HALF if layout.devices > 1 else FULL


def units(config: OmniConfig, layout: Layout) -> list[Unit]:
    """In the order of forward. Tables, norms and logits are whole on every device of a tensor
    group; layers and heads are cut."""
    model, size, rows = config.model, sizes(config), layout.local_rows
    stream, wide = rows * model.d_model, rows * model.d_feed_forward // layout.tensor
    tables = size.text_image_table + size.audio_table
    kept = kept_by_layer(model, layout, layout.checkpointing)
    again = kept_by_layer(model, layout, False) if layout.checkpointing else 0.0
    # Backward through SwiGLU: two more gradients as wide, that of its last matrix, and of the
    # stream before and after.
    down = model.d_model * model.d_feed_forward // layout.tensor
    working = again + HALF * (2 * wide + down + 2 * stream)
    norms = 2 * (model.d_model + model.head_width)
    matrices = (size.attention + size.feed_forward) // model.num_layers // layout.tensor
    return [
        # Their backward waits for the end, as look-ups have no gradient to pass on.
        Unit("the tables", tables, 2, 0.0, HALF * tables, reduced=size.text_image_table),
        *[Unit("a layer", matrices + norms, 2, kept, working)] * model.num_layers,
        Unit("the last norm", model.d_model, 1, 2 * HALF * stream, HALF * stream),
        *_heads(config, layout, size),
    ]


def _heads(config: OmniConfig, layout: Layout, size: Sizes) -> Iterator[Unit]:
    """Kept are the asked hidden vectors, what the chain between choices keeps, and the logits.
    Backward, their gradient is beside them, in float32 and then in bfloat16 too."""
    width, (_, entries, chained) = config.model.d_model, _choices(config)
    # Of each link of the chain: the inputs of its norm, of its two matrices and of SiLU.
    link = (_stream(layout) + 3 * HALF) * width
    whole = chained * (entries + 1) * width  # the chain's own tables and norms are not cut
    for name, parameters, uncut, chain, asked, logits in zip(
        ("the text+image head", "the audio head"),
        (size.text_image_head, size.audio_head),
        (0, whole),
        (0, chained * link),
        layout.asked,
        logits_per_row(config),
        strict=True,
    ):
        gathered = uncut + (parameters - uncut) // layout.tensor
        yield Unit(
            name,
            gathered,
            1 if asked else 0,
            asked * (HALF * logits + HALF * width + chain),
            HALF * (asked * logits + gathered),
            (FULL + HALF) * asked * logits,
        )


@dataclass(frozen=True)
class Moment:
    """When in a step, and what one device then holds, in bytes by part."""

    name: str
    parts: dict[str, float]

    @property
    def total(self) -> float:
        return sum(self.parts.values())


def moments(config: OmniConfig, layout: Layout) -> Iterator[Moment]:
    """From the end of forward on, when memory is fullest.

    While a unit is in backward, the next is gathered already, and the summed gradients of the one
    before are still on their way; heads stay gathered from forward on. One device alone gathers
    and sends nothing, but has autocast's copies of its matrices, and its gradients in float32.
    """
    all_units, alone = units(config, layout), layout.devices == 1
    order = [unit for unit in all_units if unit.gathers]  # a head that is never asked is left out
    local = sum(unit.parameters for unit in all_units)
    ahead = trained = sum(unit.parameters for unit in order)  # ahead: still to come in backward
    logits = sum(unit.kept for unit in order if unit.loss)
    kept = sum(unit.kept for unit in order) - logits
    copied = HALF if alone and not layout.checkpointing else 0  # until their backward
    sending = 0
    for unit, following in zip(reversed(order), [*reversed(order[:-1]), None], strict=True):
        state = {
            "weights": FULL * local / layout.data,
            "moments of AdamW": MOMENTS * trained / layout.data,
            "gradients": FULL * (trained - ahead) / layout.data,
        }
        ahead -= unit.parameters
        prefetched = copied * ahead
        if following is not None and not alone:
            prefetched = HALF * following.parameters
        before = state | {
            "activations kept": kept,
            "logits and loss": logits,
            "weights gathered": HALF * unit.parameters + prefetched,
            "gradients on their way": sending,
        }
        if unit.loss:
            yield Moment(f"loss of {unit.name}", before | {"logits and loss": logits + unit.loss})
        yield Moment(f"backward of {unit.name}", before | {"work of one unit": unit.working})
        if unit.loss:
            logits -= unit.kept
        else:
            kept -= unit.kept
        reduced = unit.parameters if unit.reduced is None else unit.reduced
        sending = 0 if alone else FULL * reduced
        after = state | {
            "activations kept": kept,
            "logits and loss": logits,
            "weights gathered": HALF * (unit.parameters - reduced) + prefetched,
            "gradients on their way": sending,
            "work of one unit": (FULL if alone else HALF) * unit.parameters,
        }
        yield Moment(f"gradients of {unit.name}", after)


def peak(config: OmniConfig, layout: Layout) -> Moment:
    """The fullest of them."""
    return max(moments(config, layout), key=lambda moment: moment.total)
