"""The loss of preferences: direct preference optimization (DPO; Rafailov et al. 2023) and its usual
variants, as a function of log-probabilities alone.

Shapes: P pairs; 2 is chosen, rejected.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional as F

from quintet.settings import Positive, Range, Weight


@dataclass(frozen=True)
class PreferenceConfig:
    """How pairs become a loss; everything but `beta` is off unless it is set."""

    beta: Positive = 0.1  # how dear it is to leave the reference, a nat
    # The share of pairs that are thought to be the wrong way round (conservative DPO).
    label_smoothing: Annotated[float, Range(0, 0.5, without_most=True)] = 0.0
    # A margin of 1 / (2 beta) nats is aimed at, and not ever more (IPO; Azar et al. 2023).
    ipo: bool = False
    # Log-probabilities are means over the answers of a sample, not sums (a frame is one answer).
    length_normalized: bool = False
    # Weight of the chosen answers' own loss, in nats an answer (as in RPO; Nvidia 2024).
    sft_weight: Weight = 0.0
    # Weight of how far the answers in other samples have gone from the reference's, in nats a
    # question: KL(reference || model), against forgetting what no pair is about.
    keep_weight: Weight = 0.0


def preference_losses(
    config: PreferenceConfig, policy_2P: Tensor, reference_2P: Tensor, num_answers_2P: Tensor
) -> dict[str, Tensor]:
    """The loss of each pair, [P]; its "margin", the nats by which the chosen answer has gained
    more on the reference than the rejected one; and the "chosen_gain", what it has gained itself.

    Nothing is learned through `reference_2P`.
    """
    gains_2P = policy_2P - reference_2P.detach()
    margin_P = gains_2P[0] - gains_2P[1]
    scaled_2P = gains_2P / num_answers_2P if config.length_normalized else gains_2P
    pressed_P = scaled_2P[0] - scaled_2P[1]
    if config.ipo:
        loss_P = (pressed_P - 1 / (2 * config.beta)).square()
    else:
        right_P, wrong_P = (-F.logsigmoid(sign * config.beta * pressed_P) for sign in (1, -1))
        loss_P = torch.lerp(right_P, wrong_P, config.label_smoothing)
    if config.sft_weight:
        loss_P = loss_P - config.sft_weight * policy_2P[0] / num_answers_2P[0]
    return {"loss": loss_P, "margin": margin_P, "chosen_gain": gains_2P[0]}
