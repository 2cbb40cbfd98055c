"""The audio tokenizer: sound <-> residual codes, causal, streaming (design: SEANet / EnCodec).

Encoder: a convolution, four blocks of a residual unit and a strided convolution that doubles
the channels, an LSTM, a last convolution to the latent vector that is quantized. The decoder is
its mirror. Sizes come from `AudioConfig`; [ref] is one setting of them.

Shapes: B batch, S samples at 24 kHz, T latent frames, D = latent_dim, Q = num_codebooks.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from quintet.config import SAMPLE_RATE, STEP_SAMPLES, AudioConfig, UserError
from quintet.tokenizers.inputs import check_tensor, entries_of, holds_integers
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

PIECE = SAMPLE_RATE  # samples that go through the layers at once, on a CPU
GROUP = 10 * SAMPLE_RATE  # samples whose frames are looked up at once: bounds the memory


def build_encoder(config: AudioConfig) -> StreamingSequential:
    """[B, 1, S] -> [B, D, T]."""
    dim = config.channels
    layers: list[nn.Module] = [CausalConv(1, dim, config.kernel_size)]
    for stride in config.strides:
        layers += [
            ResidualUnit(dim, config.residual_kernel_sizes, config.residual_shortcut),
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
            CausalConvTranspose(dim, dim // 2, stride),
            ResidualUnit(dim // 2, config.residual_kernel_sizes, config.residual_shortcut),
        ]
        dim //= 2
    # Speech is about 0.1 loud: a louder start would first have to be unlearned.
    layers += [Elu(), CausalConv(dim, 1, config.kernel_size, gain=0.1)]
    return StreamingSequential(layers)


def _in_pieces(half: StreamingSequential, x_BCT: Tensor, length: int, state: State) -> Any:
    """The output and the state of `half`, fed `length` of the input at a time."""
    made, pieces = [], x_BCT.split(length, dim=-1)
    for piece_BCT in pieces:
        y_BCT, state = half(piece_BCT, state)
        made.append(y_BCT)
    return torch.cat(made, dim=-1) if len(made) > 1 else made[0], state


class AudioTokenizer(nn.Module):
    """Sound in [-1, 1] at 24 kHz <-> codes of Q residual codebooks.

    `encode` and `decode` take and return a streaming state; pieces of any length, also of none
    or of one sample, give the same result as the whole. Samples that do not fill a frame wait in
    the state; at the end of a sound, up to `hop - 1` of them stay unheard unless silence follows.
    Batches are independent streams: `quintet.tokenizers.streams` joins and parts them.
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
    def start_encode(self, batch_size: int = 1) -> State:
        """The encoder's state before any sound; `encode` takes None for the same."""
        return self.encoder.start(next(self.parameters()).new_zeros(batch_size, 1, 0))

    @torch.no_grad()
    def start_decode(self, batch_size: int = 1) -> State:
        """The decoder's state before any code; `decode` takes None for the same."""
        latents_BD0 = next(self.parameters()).new_zeros(batch_size, self.config.latent_dim, 0)
        return self.decoder.start(latents_BD0)

    @torch.no_grad()
    def encode(self, audio_BS: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Codes [B, T, Q] (int64) of the frames that are complete, and the next state.

        Raises:
            UserError: `audio_BS` is not a tensor [B, S] of finite floating-point samples. One
                sample that is not a number would silence its stream for good, through the LSTM's
                state.
        """
        check_tensor(audio_BS, "The sound to encode", "floating-point samples")
        if audio_BS.ndim != 2 or not audio_BS.is_floating_point():
            raise UserError(
                f"The sound to encode is {audio_BS.dtype} of shape {list(audio_BS.shape)}; "
                "give floating-point samples as [batch, samples]."
            )
        if not audio_BS.isfinite().all():
            raise UserError("The sound holds samples that are not numbers; replace them by zeros.")
        audio_BS = audio_BS.to(next(self.parameters()).dtype)
        codes, length = [], self._piece_samples(audio_BS)
        for group_BS in audio_BS.split(GROUP, dim=1):
            latents_BDT, state = _in_pieces(self.encoder, group_BS[:, None], length, state)
            codes.append(self._search(latents_BDT.mT))
        return torch.cat(codes, dim=1), state

    @torch.no_grad()
    def decode(self, codes_BTQ: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Sound [B, T * hop] in [-1, 1], and the next state. The codes may be those of the first
        few codebooks alone: fewer bits, and coarser.

        Raises:
            UserError: `codes_BTQ` is not a tensor [B, T, 1 to Q] of integers, or holds codes that
                the codebooks do not have.
        """
        codes_BTQ = self._checked(codes_BTQ)
        frames = max(1, GROUP // self.config.hop)
        length = max(1, self._piece_samples(codes_BTQ) // self.config.hop)
        made = []
        for group_BTQ in codes_BTQ.split(frames, dim=1):
            latents_BTD = self.quantizer.decode(group_BTQ)
            audio_B1S, state = _in_pieces(self.decoder, latents_BTD.mT, length, state)
            made.append(audio_B1S[:, 0])
        return torch.cat(made, dim=1).clamp_(-1, 1), state

    def _search(self, latents_BTD: Tensor) -> Tensor:
        if not latents_BTD.shape[1]:
            return torch.zeros(
                len(latents_BTD), 0, self.config.num_codebooks,
                dtype=torch.long, device=latents_BTD.device,
            )  # fmt: skip
        return self.quantizer.encode(latents_BTD)

    def _piece_samples(self, batch: Tensor) -> int:
        """Samples that go through the layers at once: on a CPU, what fits into its cache."""
        if batch.device.type != "cpu":
            return GROUP
        return max(STEP_SAMPLES, PIECE // max(1, len(batch)))

    def _checked(self, codes_BTQ: Tensor) -> Tensor:
        """The codes as int64, of whatever integers they were."""
        check_tensor(codes_BTQ, "The codes to decode", "integers")
        books, whole = self.config.num_codebooks, holds_integers(codes_BTQ)
        if codes_BTQ.ndim != 3 or not 1 <= codes_BTQ.shape[2] <= books or not whole:
            raise UserError(
                f"The codes to decode are {codes_BTQ.dtype} of shape {list(codes_BTQ.shape)}; "
                f"give integers as [batch, frames, codebooks], "
                f"of at most {books} codebooks."
            )
        return entries_of(codes_BTQ, self.config.codebook_size, "The codes", "codec")

    def forward(
        self, audio_BS: Tensor, quantize: bool = True, books_B: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """For training: reconstruction [B, S'], latents [B, T, D] as the decoder sees them,
        codes [B, T, Q] (empty without `quantize`) and the commitment loss.

        Args:
            books_B: how many codebooks each sound may use; all by default.
        """
        latents_BDT, _ = self.encoder(audio_BS[:, None])
        latents_BTD = latents_BDT.transpose(1, 2)
        codes, commitment = torch.empty(0), audio_BS.new_zeros(())
        if quantize:
            latents_BTD, codes, commitment = self.quantizer(latents_BTD, books_B)
        audio_B1S, _ = self.decoder(latents_BTD.transpose(1, 2))
        return audio_B1S[:, 0], latents_BTD, codes, commitment

    def fold(self) -> AudioTokenizer:
        """Fold weight normalization away (once, after loading or before export)."""
        fold_weight_norm(self)
        return self
