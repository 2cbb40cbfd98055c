"""The task of the stage `prefer`: pairs of samples in, the loss of their log-probabilities out.

Shapes: P pairs; 2 is chosen, rejected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from quintet.config import OmniConfig
from quintet.data.loader import Loader
from quintet.data.preferences import Pair, PairLoader
from quintet.model.log_probs import divergence, log_probs, num_answers
from quintet.model.omni import Batch, Omni
from quintet.stages.omni_task import EVALUATION_BATCHES, OmniTask
from quintet.timeline.masks import FOREVER
from quintet.timeline.packing import pack
from quintet.timeline.targets import Sample
from quintet.train import TrainConfig
from quintet.train.preference import PreferenceConfig, preference_losses
from quintet.train.processes import Place


@dataclass(frozen=True)
class PairBatch(Batch):
    """Both samples of P pairs, in lines."""

    order_2P: Tensor = field(kw_only=True)  # which sample is chosen, and which rejected
    kept: Batch | None = None  # of no pair: where the answers should stay as they are

    @classmethod
    def from_pairs(cls, pairs: list[Pair], packed_rows: int, window_steps: int) -> PairBatch:
        samples = [pair.chosen for pair in pairs] + [pair.rejected for pair in pairs]
        lines = pack(samples, packed_rows)
        place = {id(sample): at for at, sample in enumerate(chain(*lines))}
        order_2P = torch.tensor([place[id(sample)] for sample in samples]).view(2, -1)
        return cls(**vars(Batch.from_lines(lines, window_steps)), order_2P=order_2P)

    def share(self, rank: int, count: int, pieces: int = 1) -> Self:
        raise AssertionError("pairs are shared out before they become a batch: `_mine`")

    def to(self, device: torch.device) -> Self:
        kept = None if self.kept is None else self.kept.to(device)
        return replace(super().to(device), order_2P=self.order_2P.to(device), kept=kept)


class PreferTask(OmniTask):
    """Train the transformer on pairs of answers, against itself as it was.

    Args:
        scenes: held-out samples whose plain losses show what else has changed.
        kept: samples in which the answers should stay as they are, if `keep_weight` says so.
    """

    replayed = False  # pairs are of too many shapes

    def __init__(
        self,
        preset: OmniConfig,
        config: TrainConfig,
        pairs: Sequence[Pair],
        held_out: Sequence[Pair],
        scenes: Sequence[Sample],
        start_from: Path,
        preference: PreferenceConfig,
        window_steps: int = FOREVER,
        kept: Sequence[Sample] = (),
    ) -> None:
        assert config.context_parallel == 1, "answers are compared whole"
        chosen = [pair.chosen for pair in pairs]
        super().__init__(
            preset, config, chosen, scenes, start_from, window_steps=window_steps
        )  # fmt: skip
        self.preference = preference
        self.pairs, self.held_out_pairs = (PairLoader(p, *self.loading) for p in (pairs, held_out))
        self.kept = Loader(kept, *self.loading) if preference.keep_weight else None
        self.reference: Omni | None = None  # of which the loop knows nothing

    def spread(self, module: nn.Module, place: Place) -> Place:
        reference = self.module().requires_grad_(False).eval()
        assert isinstance(reference, Omni)
        self._divide(reference, place)
        self.reference = reference
        return super().spread(module, place)

    def record(self) -> dict[str, Any]:
        return asdict(self.preference) | {"pairs": len(self.pairs.samples)}

    def batch(self, step: int) -> PairBatch:
        batch = self._mine(self.pairs.pairs(step))
        if self.kept is None:
            return batch
        return replace(batch, kept=self._share(self.kept.batch(step)))

    def _mine(self, pairs: list[Pair]) -> PairBatch:
        """Every process makes the same batch and takes its own pairs of it."""
        mine = pairs[self.place.data_rank :: self.place.data_size]
        batch = PairBatch.from_pairs(mine, self.config.packed_rows, self.window_steps)
        return batch.to(self.place.device)

    def losses(self, module: nn.Module, batch: Batch, step: int) -> dict[str, Tensor]:
        """Means over the pairs of the whole batch, of which this process adds its part."""
        assert isinstance(module, Omni) and isinstance(batch, PairBatch)
        assert self.reference is not None
        with torch.no_grad():
            reference_2P = log_probs(self.reference, batch)[batch.order_2P]
        policy_2P = log_probs(module, batch)[batch.order_2P]
        num_answers_2P = num_answers(batch)[batch.order_2P]
        values = preference_losses(self.preference, policy_2P, reference_2P, num_answers_2P)
        values["accuracy"] = (values["margin"] > 0).float()
        values["chosen_likelier"] = (policy_2P[0] > policy_2P[1]).float()
        means = {name: value_P.sum() / self.config.batch_size for name, value_P in values.items()}
        if batch.kept is not None:
            drift = divergence(self.reference, module, batch.kept).sum()
            means["drift"] = drift / num_answers(batch.kept.whole or batch.kept).sum()
            means["loss"] = means["loss"] + self.preference.keep_weight * means["drift"]
        return means

    def evaluate(self, module: nn.Module, done: int) -> dict[str, float]:
        """Of held-out pairs what training minimizes; of held-out scenes the plain losses, and how
        far the answers have gone from the reference's, in nats a question."""
        assert isinstance(module, Omni) and self.reference is not None
        scores, totals = super().evaluate(module, done), dict[str, float]()
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
