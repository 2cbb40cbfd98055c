"""The audio tokenizer: sound <-> residual codes, causal, streaming (design: SEANet / EnCodec).

Encoder: a convolution, four blocks of a residual unit and a strided convolution that doubles
the channels, an LSTM, a last convolution to the latent vector that is quantized. The decoder is
its mirror. Sizes come from `AudioConfig`; [ref] is one setting of them.

Shapes: B batch, S samples at 24 kHz, T latent frames, D = latent_dim, Q = num_codebooks.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from quintet.config import AudioConfig
from quintet.tokenizers.quantize import ResidualQuantizer
from quintet.tokenizers.streaming import (
    CausalConv,
    CausalConvTranspose,
    Elu,
    ResidualLSTM,
    ResidualUnit,
    State,
    StreamingSequential,
    fold_weight_norm,
)


def build_encoder(config: AudioConfig) -> StreamingSequential:
    """[B, 1, S] -> [B, D, T]."""
    dim = config.channels
    layers: list[nn.Module] = [CausalConv(1, dim, config.kernel_size)]
    for stride in config.strides:
        layers += [
            ResidualUnit(dim, config.residual_kernel_size),
            Elu(),
            CausalConv(dim, 2 * dim, 2 * stride, stride),
        ]
        dim *= 2
    layers += [ResidualLSTM(dim, config.lstm_layers), Elu()]
    layers += [CausalConv(dim, config.latent_dim, config.kernel_size)]
    return StreamingSequential(layers)


def build_decoder(config: AudioConfig) -> StreamingSequential:
    """[B, D, T] -> [B, 1, S]."""
    dim = config.channels * 2 ** len(config.strides)
    layers: list[nn.Module] = [CausalConv(config.latent_dim, dim, config.kernel_size)]
    layers += [ResidualLSTM(dim, config.lstm_layers)]
    for stride in reversed(config.strides):
        layers += [
            Elu(),
            CausalConvTranspose(dim, dim // 2, 2 * stride, stride),
            ResidualUnit(dim // 2, config.residual_kernel_size),
        ]
        dim //= 2
    # Speech is about 0.1 loud: a louder start would first have to be unlearned.
    layers += [Elu(), CausalConv(dim, 1, config.kernel_size, gain=0.1)]
    return StreamingSequential(layers)


class AudioTokenizer(nn.Module):
    """Sound in [-1, 1] at 24 kHz <-> codes of Q residual codebooks.

    `encode` and `decode` take and return a streaming state; pieces of any length give the same
    result as the whole. Batches are independent streams.
    """

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = build_encoder(config)
        self.quantizer = ResidualQuantizer(
            config.num_codebooks, config.codebook_size, config.latent_dim
        )
        self.decoder = build_decoder(config)

    @torch.no_grad()
    def encode(self, audio_BS: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Codes [B, T, Q] (int64) of the frames that are complete, and the next state."""
        latents_BDT, state = self.encoder(audio_BS[:, None], state)
        return self.quantizer.encode(latents_BDT.transpose(1, 2)), state

    @torch.no_grad()
    def decode(self, codes_BTQ: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Sound [B, T * hop] in [-1, 1], and the next state."""
        latents_BTD = self.quantizer.decode(codes_BTQ)
        audio_B1S, state = self.decoder(latents_BTD.transpose(1, 2), state)
        return audio_B1S[:, 0].clamp(-1, 1), state

    def forward(
        self, audio_BS: Tensor, quantize: bool = True
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """For training: reconstruction [B, S'], latents [B, T, D] as the decoder sees them,
        codes [B, T, Q] (empty without `quantize`) and the commitment loss."""
        latents_BDT, _ = self.encoder(audio_BS[:, None])
        latents_BTD = latents_BDT.transpose(1, 2)
        codes, commitment = torch.empty(0), audio_BS.new_zeros(())
        if quantize:
            latents_BTD, codes, commitment = self.quantizer(latents_BTD)
        audio_B1S, _ = self.decoder(latents_BTD.transpose(1, 2))
        return audio_B1S[:, 0], latents_BTD, codes, commitment

    def fold(self) -> AudioTokenizer:
        """Fold weight normalization away (once, after loading or before export)."""
        fold_weight_norm(self)
        return self
