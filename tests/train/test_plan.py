"""The plan's arithmetic agrees with the model as it is made, and the command with the plan."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import make_config, run
from torch.utils.flop_counter import FlopCounterMode

from quintet.commands.plan import figures, make_plan
from quintet.config import OmniConfig, UserError, load_preset
from quintet.model.embedding import RowTensors
from quintet.model.omni import Batch, Omni
from quintet.train.memory import GIB, Layout, moments, peak, sizes
from quintet.train.plan import DEVICES, Assumptions, Plan, smallest, traffic, work

DOCS = (Path(__file__).parent.parent.parent / "docs" / "plan.md").read_text(encoding="utf-8")
HEADS = ("parallel", "chained", "digits")
H100 = DEVICES["h100"]


def _with_head(config: OmniConfig, head: Any) -> OmniConfig:
    return replace(config, model=replace(config.model, audio_head=head))


def _meta(config: OmniConfig) -> Omni:
    with torch.device("meta"):
        return Omni(config)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("preset", ["nano", "reference"])
def test_parameters_are_those_of_the_model(preset: str, head: str) -> None:
    config = _with_head(load_preset(preset), head)
    model, counted = _meta(config), sizes(config)

    def count(*modules: torch.nn.Module) -> int:
        return sum(p.numel() for module in modules for p in module.parameters())

    layers = model.transformer.layers
    matrices = [m for layer in layers for m in (layer.attention.query_key_value,
                                                layer.attention.output)]  # fmt: skip
    assert counted.total == count(model)
    assert counted.text_image_table == count(model.embedding.text_image)
    assert counted.audio_table == count(model.embedding.audio)
    assert counted.attention == count(*matrices)
    assert counted.feed_forward == count(*(layer.feed_forward for layer in layers))
    assert counted.text_image_head == count(model.text_image_head)
    assert counted.audio_head == count(model.audio_head)


@pytest.mark.parametrize("head", ["parallel", "chained"])
def test_operations_are_those_that_are_counted_in_the_model(head: str) -> None:
    config = _with_head(make_config(), head)
    layout = Layout(1, samples=2, rows=32, text_share=0.5, audio_share=0.25)
    text, audio, books = *layout.asked, config.audio.num_codebooks
    with torch.device("meta"):
        ids = torch.zeros(2, 32, dtype=torch.long)
        codes = ids[..., None].expand(2, 32, books)
        rows = RowTensors(codes, ids.bool(), ids, ids, ids.float(), ids)
        at, answers = torch.zeros(audio, dtype=torch.long), torch.zeros(audio, books).long()
        asked = torch.zeros(text, dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        _meta(config).losses(Batch(rows, asked, asked, at, answers))
    # The counter takes attention for one in which every row sees all rows; backward is twice that.
    unseen = 2 * layout.rows * layout.local_rows * config.model.d_model * config.model.num_layers
    assert work(config, layout).model == 3 * (counter.get_total_flops() - unseen)


def test_a_layer_computed_again_costs_a_third_more() -> None:
    config = load_preset("reference")
    layout = Layout(1024)
    again, once = work(config, layout), work(config, replace(layout, checkpointing=False))
    assert again.model == once.model == once.computed
    assert 1.3 < again.computed / once.computed < 4 / 3


def test_exchange() -> None:
    config = load_preset("small")
    count = sizes(config).total
    assert set(vars(traffic(config, Layout(1))).values()) == {0}
    two = traffic(config, Layout(2))
    assert two.reduce == 4 * count / 2 and two.tensor == 0
    assert 1.5 < two.gather / (2 * count / 2) < 2  # the heads are gathered once, the rest twice
    assert traffic(config, Layout(4, tensor=4)).gather == 0
    assert traffic(config, Layout(4, tensor=4)).tensor > 0
    shared = traffic(config, Layout(4, context=2))
    assert shared.context > 0 and shared.gather == traffic(config, Layout(4)).gather


def test_a_few_rows_among_many_devices_are_padded() -> None:
    config = load_preset("reference")
    few, even = (Layout(8, context=4, samples=2, rows=rows) for rows in (3, 64))
    assert few.local_rows == even.local_rows == 2 * 16
    assert Plan(config, H100, few).days == Plan(config, H100, even).days


def test_memory_shrinks_with_devices_and_grows_with_rows() -> None:
    config = load_preset("reference")
    totals = [peak(config, Layout(devices)).total for devices in (8, 64, 512, 4096)]
    assert totals == sorted(totals, reverse=True)
    longer = [peak(config, Layout(512, rows=rows)).total for rows in (1024, 8192, 65_536)]
    assert longer == sorted(longer)
    assert peak(config, Layout(512, tensor=4)).total < totals[2]
    assert peak(config, Layout(512, context=4)).total < totals[2]
    whole = peak(config, Layout(512, checkpointing=False)).parts["activations kept"]
    assert whole > 20 * peak(config, Layout(512)).parts["activations kept"]


def test_all_gradients_are_there_at_the_end() -> None:
    config = load_preset("sketch")
    last = list(moments(config, Layout(64)))[-1]
    both = last.parts["gradients"] + last.parts["work of one unit"] * 2 / 64
    assert both == pytest.approx(4 * sizes(config).total / 64)


@pytest.mark.parametrize(
    ("tensor", "context", "step"), [(1, 1, 8), (4, 1, 8), (5, 1, 40), (4, 5, 40)]
)
def test_the_smallest_number_of_devices_fits_and_no_smaller(
    tensor: int, context: int, step: int
) -> None:
    plan = Plan(load_preset("reference"), H100, Layout(40, tensor=tensor, context=context))
    fewest = smallest(plan)
    assert fewest is not None and not plan.fits and fewest % step == 0

    def on(devices: int) -> Plan:
        return replace(plan, layout=replace(plan.layout, devices=devices))

    assert on(fewest).fits and not on(fewest - step).fits
    assert smallest(Plan(plan.config, H100, Layout(40, rows=10**6))) is None
    assert smallest(Plan(load_preset("small"), H100, Layout(64))) == 1


def test_time_and_cost() -> None:
    plan = Plan(load_preset("reference"), H100, Layout(1024))
    assert plan.step_seconds >= max(plan.seconds.values())
    assert 0.35 < plan.utilization < 0.55 < plan.utilization * 4 / 3 * 1.05
    assumed = Assumptions(dollars_per_hour=2.0, training_rows=plan.rows_per_second * 86_400)
    day = replace(plan, assumptions=assumed)
    assert day.days == pytest.approx(1) and day.dollars == pytest.approx(2 * 24 * 1024)


def test_the_ring_between_nodes_is_as_fast_as_their_network_cards() -> None:
    config = load_preset("reference")
    bandwidths = [
        Plan(config, H100, Layout(n, tensor=t)).data_bandwidth
        for n, t in ((8, 1), (64, 1), (64, 4))
    ]
    assert bandwidths == pytest.approx([0.7 * 450e9, 0.7 * 400e9, 0.7 * 100e9])


def test_who_shares_rows_across_nodes_exchanges_them_by_network_cards() -> None:
    config = load_preset("reference")
    bandwidths = [
        Plan(config, H100, Layout(40, tensor=t, context=c)).context_bandwidth
        for t, c in ((1, 5), (2, 2), (4, 5))
    ]
    assert bandwidths == pytest.approx([0.7 * 450e9, 0.7 * 450e9, 0.7 * 50e9])


def test_the_plan_tells_who_shares_rows(capsys) -> None:
    assert run("plan", "nano", "--gpus", 4, "--context", 2, "--rows", 1000) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "1 sample on each 2" in told
    assert "cut among 2 devices, which exchange them in each attention at 315 GB/s" in told


def test_the_command_prints_and_writes_rows(tmp_path: Path, capsys) -> None:
    file = tmp_path / "deep" / "plan.json"
    assert run("plan", "reference", "--gpus", 1024, "--json", file) == 0
    shown = capsys.readouterr().out
    assert "230.30 billion" in shown and "Llama 3 405B" in shown
    written = json.loads(file.read_text())
    assert all(set(row) == {"name", "unit", "value", "peer", "ratio", "source"}
               for row in written["rows"])  # fmt: skip
    assert {row["source"] for row in written["rows"]} == {"counted", "modelled", "assumed"}
    assert len({row["name"] for row in written["rows"]}) == len(written["rows"])


def test_small_figures_are_told_in_small_units(capsys) -> None:
    assert run("plan", "nano", "--gpus", 8) == 0
    table = capsys.readouterr().out
    assert "0.000" not in table and "MiB" in table and "µs" in table and "seconds" in table


def test_a_plan_that_does_not_fit_says_what_would(tmp_path: Path, capsys) -> None:
    file = tmp_path / "plan.json"
    assert run("plan", "reference", "--gpus", 64, "--json", file) == 2
    told = capsys.readouterr()
    fewest = smallest(make_plan("reference", "h100", None, {"devices": 64}, {}))
    assert len(told.err.splitlines()) == 1 and f"--gpus {fewest} " in told.err
    assert "memory: peak" in told.out and file.is_file()  # where its memory goes is still told
    assert run("plan", "reference", "--gpus", 64, "--rows", 10**6) == 2
    assert "no number of devices" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("nonsense --gpus 8", "no preset"),
        ("reference --gpus 8 --device abacus", "use one of: a100, h100, h200, b200"),
        ("reference --gpus 63 --tensor 4", "use 60 or 64"),
        ("reference --gpus 2 --tensor 4", "use 4"),
        ("reference --gpus 64 --tensor 8", "1, 2, 4, 5, 10, 20"),
        (
            "reference --gpus 64 --tensor 4 --context 2",
            "--tensor 4 leaves 5 key-value heads to each; use a --context of 1, 5",
        ),
        ("reference --gpus 12 --context 8", "use 8 or 16"),
        ("reference --gpus 0", "--gpus"),
        ("reference", "--gpus"),
        ("reference --gpus 1024 --text-asked 2", "--text-asked is 2.0; make it a number from 0"),
        ("reference --gpus 1024 --efficiency 0", "--efficiency is 0.0; make it more than 0"),
        ("reference --gpus 1024 --price nan", "--price is nan; make it a number above 0"),
        ("reference --gpus 1024 --training-rows -1", "--training-rows is -1.0; make it a number"),
        ("codec-12hz --gpus 1", "a tokenizer alone"),
        ("pictures-4k --gpus 1", "use one of: multiplication, multiplication-4, nano, reference"),
    ],
)
def test_a_mistake_is_one_sentence(arguments: str, complaint: str, capsys) -> None:
    assert run("plan", *arguments.split()) == 2
    told = capsys.readouterr()
    assert len(told.err.splitlines()) == 1 and complaint in told.err and not told.out


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(UserError, match="rows is 0"):
        Layout(8, rows=0)
    with pytest.raises(UserError, match=r"usable is 1\.5"):
        Assumptions(usable=1.5)


def _documented() -> list[list[str]]:
    """The table of presets: command, then figures."""
    lines = [line for line in DOCS.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.parametrize("row", _documented(), ids=lambda row: row[0])
def test_the_documented_table_is_what_the_command_says(row: list[str]) -> None:
    preset, *flags = row[0].strip("`").split()[2:]
    options = dict(zip(flags[::2], map(int, flags[1::2]), strict=True))
    layout = {"devices": options["--gpus"], "samples": options.get("--batch", 1),
              "tensor": options.get("--tensor", 1),
              "context": options.get("--context", 1)}  # fmt: skip
    plan = make_plan(preset, "h100", options.get("--rows"), layout, {})
    values = {figure["name"]: figure["value"] for figure in figures(plan)}
    assert row[1] == f"{values['parameters: total'] / 1e6:,.1f}"
    assert row[2] == f"{plan.peak.total / GIB:,.2f}"
    assert row[5] == f"{values['speed: rows a second']:,.0f}"
    assert row[6] == f"{100 * values['speed: model FLOPs utilization']:.0f} %"
    assert row[7] == f"{values['training: time']:,.3g}"
    assert row[8] == f"{values['training: cost']:,.2f}"
