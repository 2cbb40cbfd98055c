"""One device equals many: losses within 1e-5 of each other, relative, in float32."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import many
import pytest
import torch
from conftest import make_config, make_model
from mistakes import check_told
from safetensors.torch import load_file
from short_runs import log_of, uneven_samples
from torch import distributed

from quintet import train
from quintet.cli import main
from quintet.config import UserError
from quintet.data.shards import save_samples
from quintet.model.omni import Batch
from quintet.stages.documents import shard_path
from quintet.stages.omni_task import OmniTask
from quintet.stages.recipe import Recipe, run_stage
from quintet.timeline.masks import FOREVER
from quintet.timeline.packing import RUN, pack
from quintet.timeline.targets import Sample
from quintet.train import Task, TrainConfig
from quintet.train.parallel import parallelize
from quintet.train.processes import Place, join

# Five samples, so that shares are uneven; an evaluation in the middle, and a checkpoint right
# after it, when the heads are still whole on every process.
SETTINGS = TrainConfig(
    steps=4, batch_size=5, learning_rate=1e-2, warmup_steps=1, checkpoint_every=2,
    evaluate_every=2, decay_fraction=0.5,
)  # fmt: skip
SHORT = replace(SETTINGS, steps=2)
PIECES = """
preset = "nano"
[[stages]]
name = "documents"
shards = { pretrain = 2, preferences = 2, realtime_test = 2 }
[[stages]]
name = "pretrain"
train = { steps = 1, batch_size = 2, context_parallel = 2 }
[[stages]]
name = "prefer"
start_from = "pretrain"
train = { steps = 1, batch_size = 2, context_parallel = 1 }
"""
PACKED = replace(SETTINGS, packed_rows=90)
WINDOW = 3  # steps, of which samples have more


class _Kept(OmniTask):
    """Keeps what it trains, to be looked at."""

    trained: torch.nn.Module

    def evaluate(self, module, done):
        self.trained = module
        return super().evaluate(module, done)


def _run(
    folder: Path,
    config: TrainConfig,
    start: Path | None = None,
    window_steps: int = FOREVER,
    num_kv_heads: int = 2,
) -> _Kept:
    samples, preset = uneven_samples(16), make_config()
    preset = replace(preset, model=replace(preset.model, num_kv_heads=num_kv_heads))
    task = _Kept(
        preset, config, samples[:10], samples[10:], start,
        trains=lambda name: start is None or "audio" in name, window_steps=window_steps,
    )  # fmt: skip
    train.run(task, config, folder, folder.name)
    return task


def _shares(folder: Path) -> None:
    _run(folder / "shares", SETTINGS)


def _grid(folder: Path) -> None:
    """Two rows of two; then what a row has in common, and copies of the run as it stood before
    its third step."""
    task = _run(folder / "grid", replace(SETTINGS, tensor_parallel=2))
    common = {
        name: weights.to_local().tolist()
        for name, weights in task.trained.state_dict().items()
        if weights.placements[1].is_replicate()
    }
    assert any("query_norm" in name for name in common)
    ranks: list[dict[str, list[float]]] = [{}] * 4
    distributed.all_gather_object(ranks, common)
    assert ranks[0] == ranks[1] and ranks[2] == ranks[3]
    if distributed.get_rank() == 0:
        for name in ("two", "one", "two pieces"):
            shutil.copytree(folder / "grid", folder / name)
            shutil.rmtree(folder / name / "checkpoints" / "00000004")


def _two(folder: Path) -> None:
    _run(folder / "two", SETTINGS)


def _two_pieces(folder: Path) -> None:
    _run(folder / "two pieces", replace(SETTINGS, context_parallel=2))


def _one(folder: Path) -> None:
    _run(folder / "one", SETTINGS)


def _pieces(folder: Path) -> None:
    """Two by two: of every other line a piece each."""
    _run(folder / "pieces", replace(SETTINGS, context_parallel=2))


def _every_way(folder: Path) -> None:
    """Layers and lines of several samples, both cut in two; blocks are computed again backward."""
    config = replace(PACKED, tensor_parallel=2, context_parallel=2, checkpoint_activations=True)
    _run(folder / "every way", config, window_steps=WINDOW, num_kv_heads=4)


def _audio(folder: Path) -> None:
    """All but audio frozen."""
    config = replace(SHORT, tensor_parallel=2)
    _run(folder / "audio", config, folder / "alone" / "model.safetensors")


def _reduced(folder: Path) -> None:
    _run(folder / "reduced", replace(SHORT, precision="bfloat16", checkpoint_activations=True))


def _reduced_pieces(folder: Path) -> None:
    config = replace(SHORT, precision="bfloat16", context_parallel=2)
    _run(folder / "reduced pieces", config)


def _command(folder: Path) -> None:
    main(["train", "tiny", "--stage", "pretrain", "--out", str(folder / "runs")])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of one process, and the same of many."""
    folder = tmp_path_factory.mktemp("many")
    _run(folder / "alone", SETTINGS)
    _run(folder / "audio alone", SHORT, folder / "alone" / "model.safetensors")
    _run(folder / "reduced alone", replace(SHORT, precision="bfloat16"))
    _run(folder / "packed alone", PACKED, window_steps=WINDOW, num_kv_heads=4)
    for index in range(2):
        documents = folder / "runs" / "tiny" / "documents"
        save_samples(shard_path(documents, "pretrain", index), _tiny_samples())
    phases: list[many.Phase] = [
        (4, _shares), (4, _grid), (4, _pieces), (4, _every_way), (2, _two), (1, _one), (2, _audio),
        (2, _two_pieces), (2, _reduced), (2, _reduced_pieces), (2, _command),
    ]  # fmt: skip
    many.start(phases, folder)
    return folder


def _tiny_samples() -> list[Sample]:
    """Of the preset tiny, whose codes are more than those of the small test system."""
    return [
        replace(
            s, audio_target=s.audio_target[:, :2], rows=replace(s.rows, tokens=s.rows.tokens[:, :2])
        )
        for s in uneven_samples(12)
    ]


def _assert_equal(
    folder: Path, one: str, many: str, tolerance: float = 1e-5, padded: bool = False
) -> None:
    """`padded`: many have lines that are as much longer as they must be to be divided."""
    alone, together = log_of(folder / one), log_of(folder / many)
    assert len(alone) == len(together)
    for first, second in zip(alone, together, strict=True):
        if padded and "rows" in first:
            more = second.pop("rows") - first.pop("rows")
            assert 0 <= more < 2 * RUN * SETTINGS.batch_size
        assert second == pytest.approx(first, rel=tolerance)


@pytest.mark.parametrize(
    ("one", "layout", "padded"),
    [
        ("alone", "shares", False), ("alone", "grid", False), ("alone", "pieces", True),
        ("packed alone", "every way", True),
    ],
)  # fmt: skip
def test_one_device_equals_many(folder: Path, one: str, layout: str, padded: bool) -> None:
    _assert_equal(folder, one, layout, padded=padded)
    alone, together = (load_file(folder / n / "model.safetensors") for n in (one, layout))
    for name, weights in alone.items():
        # Adam makes an update of nearly the learning rate out of a gradient that is rounding.
        torch.testing.assert_close(together[name], weights, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("count", ["two", "one", "two pieces"])
def test_what_four_began_fewer_finish(folder: Path, count: str) -> None:
    _assert_equal(folder, "alone", count, padded=count == "two pieces")


def test_frozen_weights_stay_so_on_many(folder: Path) -> None:
    _assert_equal(folder, "audio alone", "audio")
    before, after = (load_file(folder / n / "model.safetensors") for n in ("alone", "audio"))
    for name, weights in before.items():
        assert torch.equal(after[name], weights) == ("audio" not in name), name


def test_reduced_precision_is_near(folder: Path) -> None:
    """Many compute with weights in bfloat16, one has autocast; both keep them in float32."""
    _assert_equal(folder, "reduced alone", "reduced", 2e-2)
    _assert_equal(folder, "reduced alone", "reduced pieces", 2e-2, padded=True)


def test_the_command_trains_on_many(folder: Path) -> None:
    stage = folder / "runs" / "tiny" / "pretrain"
    assert len([line for line in log_of(stage) if "loss" in line]) == 6
    assert (stage / "scores.json").is_file() and load_file(stage / "model.safetensors")


def test_shares_ask_unevenly_and_add_up() -> None:
    """The parts of the losses and of the gradients, words counting thrice and turns twice."""
    model, batch = make_model(make_config()), Batch.from_samples(uneven_samples(5))
    shares = [batch.share(rank, 4) for rank in range(4)]
    assert {len(share.rows.step) for share in shares} == {1, 2}
    assert any(len(share.audio_at) == 0 for share in shares)
    whole = model.losses(batch, 3.0, 2.0)
    whole["loss"].backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    parts = [model.losses(share, 3.0, 2.0) for share in shares]
    torch.stack([part["loss"] for part in parts]).sum().backward()
    for name, value in whole.items():
        assert sum(float(part[name].detach()) for part in parts) == pytest.approx(
            float(value.detach()), rel=1e-6
        )
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("packed_rows", [0, 130])
def test_pieces_of_lines_are_dealt_evenly_and_none_is_lost(packed_rows: int) -> None:
    lines = pack(uneven_samples(12), packed_rows)
    batch = Batch.from_lines(lines, WINDOW, 2)
    longest = batch.rows.place.shape[1]
    shares = [batch.share(rank, 4, 2) for rank in range(4)]
    assert int(batch.opens_text().sum()) == sum(int(one.opens_text().sum()) for one in shares)
    assert int(batch.opens_audio().sum()) == sum(int(one.opens_audio().sum()) for one in shares)
    found: dict[str, list[int]] = {"text": [], "audio": []}
    for rank, share in enumerate(shares):
        assert len({len(column) for column in vars(share.rows).values()}) == 1
        for name, at in (("text", share.text_at), ("audio", share.audio_at)):
            line, row = at // (longest // 2), at % (longest // 2)
            whole = (2 * line + rank // 2) * longest + share.rows.place[line, row]
            found[name] += whole.tolist()
        assert share.whole is batch and share.starts is None and share.sight is not None
        assert share.sight.rank.shape[1] == longest
    assert sorted(found["text"]) == batch.text_at.tolist()
    assert sorted(found["audio"]) == batch.audio_at.tolist()
    asked = torch.tensor([[len(s.text_at), len(s.audio_at)] for s in shares]).view(2, 2, 2).sum(0)
    assert (asked.max(0).values < 1.5 * asked.min(0).values).all()


def test_a_recipe_may_divide_rows_but_not_those_of_answers_to_compare(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(PIECES)
    stages = {stage.name: stage for stage in Recipe.load(str(path), tmp_path).stages}
    assert stages["pretrain"].train.together == 2
    check_told(
        PIECES,
        "context_parallel = 1",
        "context_parallel = 2",
        "'prefer' has context_parallel and",
        tmp_path,
    )


def test_activation_checkpointing_changes_nothing(folder: Path, tmp_path: Path) -> None:
    _run(tmp_path / "recomputed", replace(SETTINGS, checkpoint_activations=True))
    assert log_of(tmp_path / "recomputed") == log_of(folder / "alone")


@pytest.mark.parametrize(
    ("change", "world_size", "told"),
    [
        ({"tensor_parallel": 2}, 3, "2 and the number of processes 3"),
        ({"tensor_parallel": 4}, 4, "does not divide num_kv_heads, which is 2"),
        ({"tensor_parallel": 2, "compile": True}, 2, "compile does not go together"),
        ({"context_parallel": 2, "compile": True}, 2, "compile does not go together"),
        ({"context_parallel": 4}, 4, "context_parallel is 4 and does not divide num_kv_heads"),
        ({"tensor_parallel": 2, "context_parallel": 2}, 4, "tensor_parallel times context_par"),
        ({"context_parallel": 2}, 3, "context_parallel is 2 and the number of processes 3"),
        ({"context_parallel": 2, "batch_size": 1}, 4, "1 and 2 groups of processes share it"),
        ({"batch_size": 3}, 4, "batch_size is 3 and 4 processes share it"),
    ],
)
def test_a_layout_that_cannot_be_is_told(change: dict, world_size: int, told: str) -> None:
    with pytest.raises(UserError, match=told):
        config = replace(SETTINGS, **change)
        parallelize(make_model(make_config()), config, Place(0, world_size))


class _Single(Task):
    module = batch = losses = export = None


def test_what_trains_in_one_process_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="without torchrun"):
        _Single().spread(torch.nn.Linear(1, 1), Place(0, 2))
    monkeypatch.setenv("WORLD_SIZE", "2")
    for context in Recipe.load("tiny", tmp_path).only("audio_tokenizer"):
        with pytest.raises(UserError, match="'audio_tokenizer' runs in one process"):
            run_stage(context)
    assert not (tmp_path / "tiny").exists()


def test_more_processes_than_gpus_are_told_by_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also by the one that has a GPU, as it is the one that speaks."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    for rank in range(3):
        monkeypatch.setenv("LOCAL_RANK", str(rank))
        with pytest.raises(UserError, match=r"3 processes on this machine and 2 GPUs; .*per-node"):
            join()
