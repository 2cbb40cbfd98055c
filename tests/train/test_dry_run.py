"""The dry run: the real step on fake tensors, beside what the plan says of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import run
from torch import distributed
from torch.nn import functional as F

import quintet.train.dry_run as dry_run_module
from quintet.config import OmniConfig, UserError, load_preset
from quintet.model.embedding import waves
from quintet.model.omni import Batch, Omni
from quintet.train.dry_run import Scale, dry_run
from quintet.train.memory import Layout, peak, sizes
from quintet.train.plan import traffic


def _shallow(preset: str, layers: int) -> OmniConfig:
    config = load_preset(preset)
    return replace(config, model=replace(config.model, num_layers=layers))


@pytest.mark.parametrize(
    ("preset", "layers", "layout"),
    [
        ("reference", 4, Layout(1024)),
        ("reference", 2, Layout(1024, tensor=4)),
        ("reference", 2, Layout(1024, context=4, rows=32_768)),
        ("reference", 2, Layout(1024, tensor=2, context=2, checkpointing=False)),
        ("reference", 2, Layout(1024, rows=2048, checkpointing=False)),
        ("reference", 2, Layout(1024, text_share=1.0, audio_share=0.0)),
        ("small", 2, Layout(2, samples=2)),
        ("small", 2, Layout(1, samples=2)),
    ],
    ids=[
        "reference",
        "tensor parallel",
        "context parallel",
        "tensor and context parallel, not checkpointed",
        "not checkpointed",
        "no audio",
        "two devices",
        "one device",
    ],
)
def test_the_model_agrees_with_the_dry_run(preset: str, layers: int, layout: Layout) -> None:
    config = _shallow(preset, layers)
    measured, modelled = dry_run(config, layout), peak(config, layout)
    assert modelled.total == pytest.approx(measured.peak, rel=0.15)
    # What is cut unevenly is padded: the first device has most.
    assert modelled.parts["weights"] == pytest.approx(measured.weights, rel=0.02)
    assert modelled.parts["moments of AdamW"] == pytest.approx(measured.moments, rel=0.02)
    for exchanged, expected in zip(
        vars(measured.traffic).values(), vars(traffic(config, layout)).values(), strict=True
    ):
        assert exchanged == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("context", [1, 4])
def test_what_a_layer_keeps_is_what_one_more_of_them_adds(context: int) -> None:
    """Where hardly anything is asked, the peak is in the layers."""
    peaks = []
    for layers in (2, 6):
        layout = Layout(
            8, context=context, samples=4, text_share=0.01, audio_share=0.01, checkpointing=False
        )
        config = _shallow("small", layers)
        peaks.append((dry_run(config, layout).peak, peak(config, layout).total))
    (few, few_modelled), (many, many_modelled) = peaks
    assert many_modelled - few_modelled == pytest.approx(many - few, rel=0.02)


def test_the_peak_is_that_of_pytorch_s_own_tracker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which works for FSDP alone, and takes twice as long."""
    tracker = pytest.importorskip("torch.distributed._tools.fsdp2_mem_tracker")
    config, layout = _shallow("reference", 2), Layout(1024)
    peaks: list[int] = []
    step, taken = dry_run_module._step, []

    def tracked(model: Omni, optimizer: torch.optim.Optimizer, batch: Batch) -> None:
        taken.append(len(taken))
        if len(taken) != 2:
            return step(model, optimizer, batch)
        peer = tracker.FSDPMemTracker(model, optimizer)
        peer._track_optimizer_states(tracker._FSDPRefType.OPT, optimizer)
        with peer:
            step(model, optimizer, batch)
        peaks.extend(held["Total"] for held in peer.get_tracker_snapshot("peak").values())

    ours = dry_run(config, layout).peak
    monkeypatch.setattr(dry_run_module, "_step", tracked)
    dry_run(config, layout)
    assert peaks == [ours]


def test_weights_of_one_device_are_all_weights() -> None:
    config = _shallow("nano", 1)
    measured = dry_run(config, Layout(1, rows=64))
    buffers = 8 * config.audio.num_codebooks  # the offsets of the codebooks
    assert measured.weights == 4 * sizes(config).total + buffers


def test_nothing_is_left_behind() -> None:
    norm, attention, resize = (
        F.rms_norm,
        F.scaled_dot_product_attention,
        torch.UntypedStorage.resize_,
    )
    config = _shallow("nano", 1)
    dry_run(replace(config, model=replace(config.model, d_time=14)), Layout(2, rows=64))
    with pytest.raises(UserError, match="divide"):
        dry_run(_shallow("nano", 1), Layout(3, tensor=3, rows=64))
    assert not distributed.is_initialized()
    assert F.rms_norm is norm and F.scaled_dot_product_attention is attention
    assert torch.UntypedStorage.resize_ is resize
    kept = waves(torch.arange(3), 14)  # of a width that no other test has
    assert type(kept) is torch.Tensor


def test_few_rows_are_padded_to_what_is_cut_in_whole_blocks() -> None:
    config = _shallow("nano", 1)
    fifty, whole, more = (
        dry_run(config, Layout(2, context=2, rows=rows)).peak for rows in (50, 64, 66)
    )
    assert fifty == whole < more


def test_the_scale_weighs_what_is_alive() -> None:
    with Scale() as scale:
        first = torch.zeros(1000)
        view, second = first[:10], torch.zeros(500)
        assert scale.total == 4 * 1500
        del first
        assert scale.total == 4 * 1500  # the view keeps it
        del view
        second.untyped_storage().resize_(0)
        assert scale.total == 0 and scale.peak == 4 * 1500


def test_check_puts_the_measure_beside_the_model(tmp_path: Path, capsys) -> None:
    file = tmp_path / "plan.json"
    layout = ("--gpus", 2, "--context", 2, "--rows", 50)  # which are padded
    assert run("plan", "nano", *layout, "--check", "--json", file) == 0
    assert "measured" in capsys.readouterr().out
    rows = {row["name"]: row for row in json.loads(file.read_text())["rows"]}
    assert rows["memory: peak"]["source"] == "modelled"
    assert rows["memory: peak"]["ratio"] == pytest.approx(
        rows["memory: peak"]["value"] / rows["memory: peak"]["peer"]
    )
    assert rows["exchange: inside layers"]["ratio"] is None  # nothing over nothing
    assert rows["dry run: time"]["source"] == "measured"
