"""Prefer: of two answers to the same, the one that people would rather have (DPO).

Answers are of any modality, and silence is one. The reference is the starting model, frozen, which
runs beside the one that trains: a third more work a step and one more copy of the weights, but it
sees every pair where the step has moved it, so that there is nothing to store or to invalidate,
and a run that goes on after a kill goes on exactly. Evaluated on pairs and on whole live scenes
that were kept out of training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from quintet import train
from quintet.config import OmniConfig
from quintet.data.preferences import Pair, PairLoader, pairs_of
from quintet.model.log_probs import divergence, log_probs, num_answers
from quintet.model.omni import Batch, Omni
from quintet.stages.context import Context
from quintet.stages.documents import PREFERENCES, samples_of
from quintet.stages.omni_task import EVALUATION_BATCHES, OMNI_SETTINGS, OmniTask
from quintet.timeline.packing import pack
from quintet.timeline.targets import Sample
from quintet.train import TrainConfig
from quintet.train.parallel import parallelize
from quintet.train.preference import PreferenceConfig, preference_losses
from quintet.train.processes import Place

LOSS_SETTINGS = {
    "beta": float, "label_smoothing": float, "ipo": bool, "length_normalized": bool,
    "sft_weight": float,
}  # fmt: skip
SETTINGS = {**OMNI_SETTINGS, **LOSS_SETTINGS}
START = "realtime"  # unless the setting `start_from` names another stage
HELD_OUT = 128  # pairs


class PreferTask(OmniTask):
    """Train the transformer on pairs of answers, against itself as it was.

    Args:
        scenes: held-out samples whose plain losses show what else has changed.
    """

    def __init__(
        self,
        preset: OmniConfig,
        config: TrainConfig,
        pairs: Sequence[Pair],
        held_out: Sequence[Pair],
        scenes: Sequence[Sample],
        start_from: Path,
        preference: PreferenceConfig,
    ) -> None:
        chosen = [pair.chosen for pair in pairs]
        super().__init__(preset, config, chosen, scenes, start_from)
        self.preference = preference
        place = (config.batch_size, config.seed, preset.image.num_tokens)
        self.pairs, self.held_out_pairs = PairLoader(pairs, *place), PairLoader(held_out, *place)
        self.reference: Omni | None = None  # of which the loop knows nothing

    def spread(self, module: nn.Module, place: Place) -> Place:
        reference = self.module().requires_grad_(False).eval()
        assert isinstance(reference, Omni)
        parallelize(reference, self.config, place)
        self.reference = reference
        return super().spread(module, place)

    def record(self) -> dict[str, Any]:
        return asdict(self.preference)

    def batch(self, step: int) -> list[Pair]:
        return self._mine(self.pairs.pairs(step))

    def _mine(self, pairs: list[Pair]) -> list[Pair]:
        """Every process makes the same batch and takes its own pairs of it."""
        return pairs[self.place.data_rank :: self.place.data_size]

    def losses(self, module: nn.Module, batch: list[Pair], step: int) -> dict[str, Tensor]:
        """Means over the pairs of the whole batch, of which this process adds its part."""
        assert isinstance(module, Omni) and self.reference is not None
        lines, order_2P = _lines(batch, self.config.packed_rows)
        both = Batch.from_lines(lines, self.window_steps).to(self.place.device)
        with torch.no_grad():
            reference_2P = log_probs(self.reference, both)[order_2P]
        policy_2P = log_probs(module, both)[order_2P]
        values = preference_losses(
            self.preference, policy_2P, reference_2P, num_answers(both)[order_2P]
        )
        values["accuracy"] = (values["margin"] > 0).float()
        values["chosen_likelier"] = (policy_2P[0] > policy_2P[1]).float()
        return {name: value_P.sum() / self.config.batch_size for name, value_P in values.items()}

    def evaluate(self, module: nn.Module) -> dict[str, float]:
        """Of held-out pairs what training minimizes; of held-out scenes the plain losses, and how
        far the answers have gone from the reference's, in nats a question."""
        assert isinstance(module, Omni) and self.reference is not None
        scores, totals = super().evaluate(module), dict[str, float]()
        count = min(EVALUATION_BATCHES, self.held_out_pairs.batches_per_epoch)
        for index in range(count):
            pairs = self._mine(self.held_out_pairs.pairs(index))
            for name, value in self.losses(module, pairs, 0).items():
                totals[f"pairs_{name}"] = totals.get(f"pairs_{name}", 0.0) + float(value) / count
        drift = asked = 0.0
        for index in range(min(EVALUATION_BATCHES, self.held_out.batches_per_epoch)):
            scenes = self._share(self.held_out.batch(index))
            drift += float(divergence(self.reference, module, scenes).sum())
            asked += float(num_answers(scenes).sum())
        both = self.place.add_up({"drift": drift, "asked": asked})
        return scores | self.place.add_up(totals) | {"drift": both["drift"] / both["asked"]}


def _lines(pairs: list[Pair], packed_rows: int) -> tuple[list[list[Sample]], Tensor]:
    """Lines of samples, and where in them chosen and rejected stand, [2, P]."""
    samples = [pair.chosen for pair in pairs] + [pair.rejected for pair in pairs]
    lines = pack(samples, packed_rows)
    place = {id(sample): at for at, sample in enumerate(s for line in lines for s in line)}
    return lines, torch.tensor([place[id(sample)] for sample in samples]).view(2, -1)


def check(context: Context) -> PreferenceConfig:
    """How the stage's settings make a loss of pairs.

    Raises:
        UserError: one of them has no sense.
    """
    chosen = {name: context.settings[name] for name in LOSS_SETTINGS if name in context.settings}
    return PreferenceConfig(**chosen)


def run(context: Context) -> dict[str, float]:
    pairs = pairs_of(samples_of(context, PREFERENCES))
    kept = len(pairs) - int(context.settings.get("held_out", HELD_OUT))
    task = PreferTask(
        context.preset, context.train, pairs[:kept], pairs[kept:],
        samples_of(context, "realtime_test"),
        start_from=context.start(START),
        preference=check(context),
    )  # fmt: skip
    return train.run(task, context.train, context.folder, context.name)
