"""`quintet plan`: what a preset costs on many devices, modelled; `--check` measures the memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from quintet.config import PRESETS, UserError, counted, load_preset, preset_file, read_toml
from quintet.train.memory import FULL, GIB, HALF, Layout, kept_by_layer, sizes, units
from quintet.train.plan import (
    DEVICES,
    Assumptions,
    Device,
    Plan,
    Traffic,
    smallest,
    traffic,
)

LONGEST = 8_192  # rows of a sample, where the preset and the person do not say less
BIG = ((1e12, "trillion"), (1e9, "billion"), (1e6, "million"))
SMALL_UNITS = {"parameters", "rows", "$"}  # of which there are millions
# For what is small in the unit of the file: in how many parts of which other it is told.
PARTS = {
    "GiB": (("MiB", 2**10), ("KiB", 2**20)),
    "GiB a step": (("MiB a step", 2**10), ("KiB a step", 2**20)),
    "s": (("ms", 1e3), ("µs", 1e6)),
    "days": (("hours", 24), ("minutes", 1_440), ("seconds", 86_400)),
}
EXPLANATION = (
    "Measured: a dry run of the real step on fake tensors, which sees every tensor and exchange "
    "but not the allocator, the collectives' own buffers or a second exchange in flight. Modelled "
    "is what is large in it: pieces padded to equal sizes, small tensors and views that keep a "
    "larger one alive make the difference."
)


def device_named(name: str) -> Device:
    if name not in DEVICES:
        raise UserError(f"There is no device {name!r}; use one of: {', '.join(DEVICES)}.")
    return DEVICES[name]


def make_plan(
    preset: str, device: str, rows: int | None, layout: dict[str, Any], assumptions: dict[str, Any]
) -> Plan:
    """The plan of a person's settings.

    Raises:
        UserError: no such preset or device, a preset of a tokenizer alone, or settings that do
            not fit together.
    """
    config = load_preset(preset)
    if not _has_transformer(preset_file(preset)):
        names = ", ".join(sorted(p.stem for p in PRESETS.glob("*.toml") if _has_transformer(p)))
        raise UserError(
            f"The preset {preset!r} has no table 'model', as it is that of a tokenizer alone, and "
            f"plans are made for transformers; add that table, or use one of: {names}."
        )
    rows = min(LONGEST, config.live.max_rows) if rows is None else rows
    return Plan(
        config, device_named(device), Layout(rows=rows, **layout), Assumptions(**assumptions)
    )


def _has_transformer(preset: Path) -> bool:
    return "model" in read_toml(preset)


def run_plan(plan: Plan, check: bool) -> dict[str, Any]:
    """Print the table and what it assumes; {"rows": [...], "notes": [...]}.

    A row is {"name", "unit", "value", "peer", "ratio", "source"}: `source` says how the value was
    found, `peer` is the dry run's measure of the same, `ratio` is value over peer.
    """
    rows, told = figures(plan), notes(plan)
    if check:
        _measure(plan, rows)
        told.append(EXPLANATION)
    _print(plan, rows, told)
    return {"rows": rows, "notes": told}


def refuse_misfit(plan: Plan) -> None:
    """Raises:
    UserError: a device has not enough memory; says how many devices would do.
    """
    if plan.fits:
        return
    fewest = smallest(plan)
    if fewest is None:
        remedy = (
            "and no number of devices is enough; lower --rows or --batch, or raise --tensor or "
            "--context"
        )
    else:
        remedy = f"so use --gpus {fewest} or more, or lower --rows or --batch"
    raise UserError(
        f"This plan does not fit: it holds {plan.peak.total / GIB:,.1f} GiB on each of "
        f"{plan.layout.devices:,} {plan.device.name}, where {plan.usable_bytes / GIB:,.1f} GiB are "
        f"usable, {remedy}."
    )


def _row(name: str, unit: str, value: float, source: str = "modelled") -> dict[str, Any]:
    return {
        "name": name, "unit": unit, "value": value, "peer": None, "ratio": None, "source": source,
    }  # fmt: skip


def figures(plan: Plan) -> list[dict[str, Any]]:
    config, layout, size = plan.config, plan.layout, sizes(plan.config)
    parameters = [
        _row(f"parameters: {part.replace('_', ' ')}", "parameters", count, "counted")
        for part, count in [*vars(size).items(), ("total", size.total)]
    ]
    return [*parameters, *_memory(plan), *_exchange(traffic(config, layout)), *_time(plan)]


def _memory(plan: Plan) -> list[dict[str, Any]]:
    """At the fullest moment of a step, and what shapes it."""
    config, layout = plan.config, plan.layout
    order, layers = units(config, layout), config.model.num_layers
    layer = next(unit for unit in order if unit.name == "a layer")
    logits = sum(unit.kept for unit in order if unit.loss)
    held = [("at the peak, " + part, size) for part, size in plan.peak.parts.items()]
    shaping = [
        ("peak", plan.peak.total),
        (
            "activations kept, with checkpointing",
            layers * kept_by_layer(config.model, layout, True),
        ),
        ("activations kept, without", layers * kept_by_layer(config.model, layout, False)),
        ("logits kept at asked rows", logits),
        (
            "gradients of all weights",
            FULL * sum(u.parameters for u in order if u.gathers) / layout.data,
        ),
        ("one layer gathered", 0 if layout.devices == 1 else HALF * layer.parameters),
        ("its gradients on their way", 0 if layout.devices == 1 else FULL * layer.parameters),
    ]
    usable = _row("memory: usable on a device", "GiB", plan.usable_bytes / GIB, "assumed")
    return [*(_row(f"memory: {name}", "GiB", b / GIB) for name, b in [*held, *shaping]), usable]


def _exchange(moved: Traffic) -> list[dict[str, Any]]:
    names = ("weights gathered", "gradients summed", "inside layers", "inside attention")
    return [
        _row(f"exchange: {name}", "GiB a step", size / GIB)
        for name, size in zip(names, vars(moved).values(), strict=True)
    ]


def _time(plan: Plan) -> list[dict[str, Any]]:
    parts = [_row(f"time: {part}", "s", seconds) for part, seconds in plan.seconds.items()]
    return [
        *parts,
        _row("time: step", "s", plan.step_seconds),
        _row("speed: rows a second", "rows", plan.rows_per_second),
        _row("speed: model FLOPs utilization", "share", plan.utilization),
        _row("training: rows", "rows", plan.training_rows, "assumed"),
        _row("training: time", "days", plan.days),
        _row("training: cost", "$", plan.dollars),
    ]


def _measure(plan: Plan, rows: list[dict[str, Any]]) -> None:
    """Put the dry run's measures beside the modelled values."""
    from quintet.train.dry_run import dry_run

    devices = counted(plan.layout.devices, "device")
    waiting = f"dry run of {devices}: half a minute for the reference, or more"
    with Console(stderr=True).status(waiting):
        measured = dry_run(plan.config, plan.layout)
    moved = measured.traffic
    peers = {
        "memory: at the peak, weights": measured.weights,
        "memory: at the peak, moments of AdamW": measured.moments,
        "memory: peak": measured.peak,
        "exchange: weights gathered": moved.gather,
        "exchange: gradients summed": moved.reduce,
        "exchange: inside layers": moved.tensor,
        "exchange: inside attention": moved.context,
    }
    for row in rows:
        if row["name"] in peers:
            row["peer"] = peers[row["name"]] / GIB
            row["ratio"] = row["value"] / row["peer"] if row["peer"] else None
    rows.append(_row("dry run: time", "s", measured.seconds, "measured"))


def notes(plan: Plan) -> list[str]:
    """One sentence for each assumption."""
    layout, device, given = plan.layout, plan.device, plan.assumptions
    text, audio = layout.text_share, layout.audio_share
    price = device.dollars_per_hour if given.dollars_per_hour is None else given.dollars_per_hour
    again = "is computed again backward" if layout.checkpointing else "keeps all activations"
    sentences = [
        f"A device holds most at the {plan.peak.name}.",
        "Weights, gradients and AdamW's moments are float32 and cut among all devices; activations "
        "and gathered weights are bfloat16, summed gradients float32.",
        f"A sample has {layout.rows:,} rows; the text+image head is asked at {_percent(text)} of "
        f"them, the audio head at {_percent(audio)}.",
        f"Each layer {again}; nothing is compiled.",
        f"Matrices are multiplied at {_percent(given.efficiency)} of the {device.name}'s peak of "
        f"{device.peak_flops / 1e12:,.0f} teraFLOPS (with layers computed twice, 55 % is a "
        "utilization of 41 %; Llama 3 405B reached 38 to 43 %).",
        f"{_percent(given.usable)} of the memory is usable; the rest is the driver's, the "
        "collectives' and lost between blocks.",
    ]  # fmt: skip
    if layout.devices > 1:
        sentences += _exchange_notes(plan)
    if given.training_rows is None:
        sentences.append("Training takes 20 rows a parameter (Hoffmann et al. 2022).")
    return [*sentences, f"A device costs ${price:.2f} an hour."]


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _exchange_notes(plan: Plan) -> list[str]:
    told = [
        f"Rings of devices move {plan.data_bandwidth / 1e9:,.0f} GB/s, "
        f"{_percent(plan.assumptions.exchange)} of what links and network cards can, beside "
        "computing."
    ]
    if plan.layout.tensor > 1:
        told.append(
            f"A layer is cut among {plan.layout.tensor} devices, which wait for one another at "
            f"{plan.tensor_bandwidth / 1e9:,.0f} GB/s."
        )
    if plan.layout.context > 1:
        told.append(
            f"The rows of a sample are cut among {plan.layout.context} devices, which exchange "
            f"them in each attention at {plan.context_bandwidth / 1e9:,.0f} GB/s."
        )
    return told


def _print(plan: Plan, rows: list[dict[str, Any]], told: list[str]) -> None:
    layout = plan.layout
    samples = f"{counted(layout.samples, 'sample')} on each"
    if layout.together > 1:
        samples += f" {layout.together}"
    title = f"plan {plan.config.name}: {layout.devices:,} {plan.device.name}, {samples}"
    checked = any(row["peer"] is not None for row in rows)
    table = Table("", "unit", "value", "found by", title=title)
    table.columns[2].justify = "right"
    if checked:
        for column in ("measured", "ratio"):
            table.add_column(column, justify="right")
    group = ""
    for row in rows:
        if row["name"].split(":")[0] != group:
            group = row["name"].split(":")[0]
            table.add_section()
        unit, parts = _told_in(row["value"], row["unit"])
        cells = [row["name"], unit, _shown(row["value"] * parts, unit), row["source"]]
        if checked:
            peer = row["peer"] and row["peer"] * parts
            cells += [_shown(peer, unit), _shown(row["ratio"], "")]
        table.add_row(*cells)
    console = Console()
    console.print(table)
    for sentence in told:
        console.print(sentence, highlight=False)


def _told_in(value: float, unit: str) -> tuple[str, float]:
    """The largest unit in which `value` is not small, and how many of them are one `unit`."""
    units = [(unit, 1.0), *PARTS.get(unit, ())]
    return next(((u, parts) for u, parts in units if not 0 < value * parts < 0.1), units[-1])


def _shown(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    if unit in SMALL_UNITS:
        for size, word in BIG:
            if value >= size:
                return f"{value / size:,.2f} {word}"
        if value >= 100 or not value:
            return f"{value:,.0f}"
        return f"{value:.2g}" if value < 0.1 else f"{value:.2f}" if unit == "$" else f"{value:.0f}"
    if not value:
        return "0"
    return f"{value:,.3f}" if value < 100 else f"{value:,.0f}"
