"""What a training step costs on many devices: exchange, time, money. Pure arithmetic.

What one device holds is in `train.memory`; `train.dry_run` measures memory and exchange of the
same step.
"""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass, replace
from functools import cached_property

from quintet.config import OmniConfig, UserError, counted
from quintet.train.memory import (
    FULL,
    HALF,
    MOMENTS,
    Layout,
    Moment,
    logits_per_row,
    not_multiplied,
    peak,
    sizes,
    units,
)

HOUR, DAY = 3_600, 86_400  # seconds
MOST_DEVICES = 2**20  # that are ever proposed


@dataclass(frozen=True)
class Device:
    """An accelerator in a node of `per_node`. Bandwidths are of one direction."""

    name: str
    memory_bytes: int  # as the driver reports it
    peak_flops: float  # a second, dense bfloat16 matrix products
    memory_bandwidth: float  # bytes a second
    link_bandwidth: float  # bytes a second to its neighbours in the node
    network_bandwidth: float  # bytes a second of its own network card
    dollars_per_hour: float
    per_node: int = 8


# Peaks, memory and NVLink: NVIDIA's data sheets of the SXM modules, without sparsity; NVLink's
# figure there adds both directions. Memory: what nvidia-smi reports. Network: the DGX systems
# (A100: 8 x 200 Gb/s; H100, H200, B200: 8 x 400 Gb/s). Prices: the middle of what specialized
# clouds asked on demand in the spring of 2026 (surveys of cloud prices by Mercatus, May, for A100,
# H100 and H200, and by Lyceum, March, for B200); hyperscalers ask up to twice as much.
DEVICES = {
    device.name: device
    for device in (
        Device("a100", 81_920 * 2**20, 312e12, 2.04e12, 300e9, 25e9, 1.3),
        Device("h100", 81_559 * 2**20, 989.4e12, 3.35e12, 450e9, 50e9, 3.0),
        Device("h200", 143_771 * 2**20, 989.4e12, 4.8e12, 450e9, 50e9, 4.0),
        Device("b200", 183_359 * 2**20, 2_250e12, 8e12, 900e9, 50e9, 5.25),
    )
}


@dataclass(frozen=True)
class Assumptions:
    """What nobody can know before the run; each is told to the person and may be changed.

    Raises:
        UserError: a share outside of (0, 1], or a price or a number of rows that is none.
    """

    # Of the peak, while matrices are multiplied. With a block computed twice, 0.55 is a model
    # FLOPs utilization of 0.41; Llama 3 405B, computed once, reached 0.38 to 0.43 (its report).
    efficiency: float = 0.55
    # Of the bandwidth, in collectives of gigabytes among hundreds of devices; nccl-tests on 32
    # nodes of 8 H100 gave half of it to all-gather and five sixths to all-reduce.
    exchange: float = 0.7
    # Of the memory: what the driver, the collectives' buffers and holes between blocks leave.
    usable: float = 0.9
    dollars_per_hour: float | None = None  # of a device; None is the table's
    training_rows: float | None = None  # None is 20 a parameter (Hoffmann et al. 2022)

    def __post_init__(self) -> None:
        shares = {
            "--efficiency": self.efficiency, "exchange": self.exchange, "usable": self.usable,
        }  # fmt: skip
        for name, share in shares.items():
            if not 0 < share <= 1:
                raise UserError(f"{name} is {share}; make it more than 0, at most 1.")
        amounts = {"--price": self.dollars_per_hour, "--training-rows": self.training_rows}
        for name, amount in amounts.items():
            if amount is not None and not 0 < amount < math.inf:
                raise UserError(f"{name} is {amount}; make it a number above 0.")


@dataclass(frozen=True)
class Traffic:
    """Bytes that one device receives (or sends) in a step."""

    gather: float  # of weights, bfloat16
    reduce: float  # of gradients, float32
    tensor: float  # of activations, between devices that share a layer
    context: float  # of queries, keys, values and results, between devices that share rows


def traffic(config: OmniConfig, layout: Layout) -> Traffic:
    """By rings (Patarasuk and Yuan 2009): (n - 1) / n of the whole, and twice that to add up.

    Layers and tables are gathered forward and backward, heads and the last norm once. A layer's
    activations are summed twice forward and twice backward, and once more when it is computed
    again, which stops before its last sum; and each head sums its logits, as heads are cut along
    the model's width. Devices that share rows exchange queries, keys, values and results forward,
    backward, and when a layer is computed again.
    """
    order, tensor = units(config, layout), layout.tensor
    others = (layout.data - 1) / layout.data
    gathered = sum(unit.gathers * unit.parameters for unit in order)
    reduced = sum(unit.parameters for unit in order if unit.gathers)
    sums = (5 if layout.checkpointing else 4) * config.model.num_layers
    summed = sums * layout.local_rows * config.model.d_model
    summed += sum(a * n for a, n in zip(layout.asked, logits_per_row(config), strict=True))
    keys = config.model.head_width * config.model.num_kv_heads
    passes = (3 if layout.checkpointing else 2) * config.model.num_layers
    exchanged = passes * layout.local_rows * 2 * (config.model.d_model + keys) / tensor
    return Traffic(
        HALF * gathered * others,
        FULL * reduced * others,
        summing_ring(tensor) * HALF * summed,
        HALF * exchanged * (layout.context - 1) / layout.context,
    )


def summing_ring(count: int) -> float:
    """How often a ring of `count` devices moves what it adds up, from the view of one of them."""
    return 2 * (count - 1) / count


@dataclass(frozen=True)
class Work:
    """Floating-point operations of a step of one group of devices."""

    model: float  # what the model needs: forward, and twice that backward
    computed: float  # with what checkpointing computes again


def work(config: OmniConfig, layout: Layout) -> Work:
    """Two operations a parameter and row in matrices; causal attention sees half of the rows
    before on average (Kaplan et al. 2020; Chowdhery et al. 2022, appendix B)."""
    model, size = config.model, sizes(config)
    attention = 2 * layout.rows * model.d_model * model.num_layers
    layers = layout.local_rows * (2 * (size.attention + size.feed_forward) + attention)
    audio_head = size.audio_head - not_multiplied(config)
    heads = 2 * (layout.asked[0] * size.text_image_head + layout.asked[1] * audio_head)
    needed = 3.0 * (layers + heads)
    return Work(needed, needed + layers if layout.checkpointing else needed)


@dataclass(frozen=True)
class Plan:
    """A preset on a number of devices, and what follows.

    Raises:
        UserError: a layer cannot be cut among so many devices.
    """

    config: OmniConfig
    device: Device
    layout: Layout
    assumptions: Assumptions = Assumptions()

    def __post_init__(self) -> None:
        layout, model = self.layout, self.config.model
        most = math.gcd(model.num_kv_heads, model.d_feed_forward)
        heads = model.num_kv_heads // layout.tensor
        _refuse(
            f"A layer of {self.config.name} cannot be cut among {layout.tensor} devices, as it has "
            f"{model.num_kv_heads} key-value heads",
            "--tensor", layout.tensor, most,
        )  # fmt: skip
        _refuse(
            f"Attentions of {self.config.name} cannot be shared by {layout.context} devices, as "
            f"--tensor {layout.tensor} leaves {counted(heads, 'key-value head')} to each",
            "--context", layout.context, heads,
        )  # fmt: skip

    @cached_property
    def peak(self) -> Moment:
        return peak(self.config, self.layout)

    @property
    def usable_bytes(self) -> float:
        return self.assumptions.usable * self.device.memory_bytes

    @property
    def fits(self) -> bool:
        return self.peak.total <= self.usable_bytes

    @property
    def data_bandwidth(self) -> float:
        """Bytes a second of a ring through the groups. Between nodes it uses the network cards of
        all its members in a node."""
        members = max(1, self.device.per_node // self.layout.tensor)
        between = min(self.device.link_bandwidth, members * self.device.network_bandwidth)
        inside = self.layout.devices <= self.device.per_node
        return self.assumptions.exchange * (self.device.link_bandwidth if inside else between)

    @property
    def tensor_bandwidth(self) -> float:
        """Bytes a second of a ring through the devices that share a layer."""
        return self._bandwidth_among(self.layout.tensor)

    @property
    def context_bandwidth(self) -> float:
        """And of exchanges between those that share rows."""
        return self._bandwidth_among(self.layout.together)

    def _bandwidth_among(self, neighbours: int) -> float:
        inside = neighbours <= self.device.per_node
        chosen = self.device.link_bandwidth if inside else self.device.network_bandwidth
        return self.assumptions.exchange * chosen

    @cached_property
    def seconds(self) -> dict[str, float]:
        """Of a step by part. FSDP exchanges while it computes; tensor and context parallel wait."""
        moved, share = traffic(self.config, self.layout), self.layout.devices
        computed = work(self.config, self.layout).computed / self.layout.tensor
        # Weights and averages read and written, gradients read.
        update = (2 * (FULL + MOMENTS) + FULL) * sizes(self.config).total / share
        return {
            "computing": computed / (self.assumptions.efficiency * self.device.peak_flops),
            "exchange of weights and gradients": (moved.gather + moved.reduce)
            / self.data_bandwidth,
            "exchange inside layers": moved.tensor / self.tensor_bandwidth,
            "exchange inside attention": moved.context / self.context_bandwidth,
            "update of weights": update / self.device.memory_bandwidth,
        }

    @property
    def step_seconds(self) -> float:
        computing, exchange, *waiting = self.seconds.values()
        return max(computing, exchange) + sum(waiting)

    @property
    def rows_per_second(self) -> float:
        return self.layout.local_rows * self.layout.data / self.step_seconds

    @property
    def utilization(self) -> float:
        """Model FLOPs utilization (Chowdhery et al. 2022)."""
        needed = work(self.config, self.layout).model / self.layout.tensor
        return needed / (self.step_seconds * self.device.peak_flops)

    @property
    def training_rows(self) -> float:
        given = self.assumptions.training_rows
        return 20.0 * sizes(self.config).total if given is None else given

    @property
    def days(self) -> float:
        return self.training_rows / self.rows_per_second / DAY

    @property
    def dollars(self) -> float:
        given = self.assumptions.dollars_per_hour
        price = self.device.dollars_per_hour if given is None else given
        return price * self.layout.devices * self.days * DAY / HOUR


def _refuse(reason: str, option: str, count: int, most: int) -> None:
    """Raises:
    UserError: `count` does not divide `most`.
    """
    if most % count:
        possible = ", ".join(str(n) for n in range(1, most + 1) if most % n == 0)
        raise UserError(f"{reason}; use a {option} of {possible}.")


def smallest(plan: Plan) -> int | None:
    """The fewest devices, in whole nodes where one is not enough, on which `plan` fits; None if
    none are, as what does not shrink with their number is too much."""
    together = plan.layout.together
    node = math.lcm(together, plan.device.per_node)

    def fits(devices: int) -> bool:
        return replace(plan, layout=replace(plan.layout, devices=devices)).fits

    for devices in range(together, node, together):
        if fits(devices):
            return devices
    nodes = range(1, MOST_DEVICES // node + 1)
    first = bisect.bisect_left(nodes, True, key=lambda count: fits(count * node))
    return nodes[first] * node if first < len(nodes) else None
