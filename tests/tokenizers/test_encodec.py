"""A converted EnCodec computes what the original does: encoder, codes and decoder."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from quintet.config import UserError
from quintet.tokenizers.encodec import convert_encodec

transformers = pytest.importorskip("transformers")

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
SMALL = {"num_filters": 4, "hidden_size": 12, "upsampling_ratios": [5, 4, 2], "kernel_size": 5,
         "last_kernel_size": 5, "codebook_size": 32, "num_lstm_layers": 1,
         "target_bandwidths": [12.0]}  # fmt: skip


def _peer(**settings: Any) -> Any:
    """An EnCodec with random weights, its codebooks filled from its own latents."""
    torch.manual_seed(0)
    peer = transformers.EncodecModel(transformers.EncodecConfig(**settings)).eval()
    with torch.no_grad():
        for name, parameter in peer.named_parameters():  # no weight as it was born
            if name.endswith(("original0", "weight_g")):
                parameter.mul_(torch.rand_like(parameter) + 0.5)
        residual = peer.encoder(0.1 * torch.randn(1, 1, 320 * 600)).mT[0]
        for layer in peer.quantizer.layers:
            book = layer.codebook.embed
            book.copy_(residual[torch.randint(len(residual), (len(book),))])
            book.add_(0.3 * residual.std() * torch.randn_like(book))
            residual = residual - book[layer.codebook.encode(residual)]
    return peer


def _converted(peer: Any, weights: dict[str, Tensor] | None = None, **settings: Any) -> Any:
    return convert_encodec({**peer.config.to_dict(), **settings}, weights or peer.state_dict())


@pytest.mark.parametrize("shortcut", [True, False], ids=["conv", "identity"])
@pytest.mark.parametrize("sizes", [SMALL, {"target_bandwidths": [3.0]}], ids=["small", "default"])
@torch.no_grad()
def test_converted_equals_original(sizes: dict[str, Any], shortcut: bool) -> None:
    peer = _peer(pad_mode="constant", use_conv_shortcut=shortcut, **sizes)
    ours = _converted(peer)
    sound_BS = 0.1 * torch.randn(2, 40 * ours.config.hop)
    theirs_BDT = peer.encoder(sound_BS[:, None])
    torch.testing.assert_close(ours.encoder(sound_BS[:, None])[0], theirs_BDT, **CLOSE)
    bandwidth = peer.config.target_bandwidths[-1]
    codes_QBT = peer.quantizer.encode(theirs_BDT, bandwidth)
    codes_BTQ, _ = ours.encode(sound_BS)
    assert len(codes_QBT) == codes_BTQ.shape[2] == 4
    assert torch.equal(codes_BTQ.permute(2, 0, 1), codes_QBT)
    assert len(codes_BTQ.unique()) > 10
    theirs_B1S = peer.decoder(peer.quantizer.decode(codes_QBT))
    ours_BS, _ = ours.decode(codes_BTQ)
    torch.testing.assert_close(ours_BS, theirs_B1S[:, 0].clamp(-1, 1), **CLOSE)


def test_every_name_of_weight_normalization() -> None:
    peer = _peer(pad_mode="constant", **SMALL)
    weights = peer.state_dict()
    older = {
        name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): value
        for name, value in weights.items()
    }
    assert older.keys() != weights.keys()
    folded = {name: value for name, value in older.items() if not name.endswith(("_g", "_v"))}
    for name, module in peer.named_modules():
        if hasattr(module, "parametrizations"):
            folded[f"{name}.weight"] = module.weight.detach()
    expected = _converted(peer).state_dict()
    for form in (older, folded):
        for name, value in _converted(peer, form).state_dict().items():
            torch.testing.assert_close(value, expected[name], **CLOSE)


@torch.no_grad()
def test_mirrored_beginnings_fade() -> None:
    """What pad_mode "reflect" changes stays near the start, as the docstring says."""
    peer = _peer(pad_mode="reflect", **SMALL)
    ours = _converted(peer)
    sound_BCS = 0.1 * torch.randn(1, 1, 100 * ours.config.hop)
    theirs, mine = peer.encoder(sound_BCS), ours.encoder(sound_BCS)[0]
    apart_T = (theirs - mine)[0].norm(dim=0) / theirs[0].norm(dim=0)
    assert apart_T[0] > 1e-3 and apart_T[50:].max() < 1e-3


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"use_causal_conv": False}, "use_causal_conv = False"),
        ({"audio_channels": 2}, "audio_channels = 2"),
        ({"normalize": True}, "normalize = True"),
        ({"norm_type": "time_group_norm"}, "time_group_norm"),
        ({"sampling_rate": 48_000}, "48000"),
        ({"chunk_length_s": 1.0}, "chunk_length_s"),
        ({"compress": 4}, "compress = 4"),
        ({"num_residual_layers": 2}, "num_residual_layers = 2"),
        ({"trim_right_ratio": 0.5}, "trim_right_ratio"),
        ({"pad_mode": "replicate"}, "replicate"),
        ({"last_kernel_size": 3}, "last 3"),
        ({"hidden_size": 16}, "codebooks are 12 wide"),
        ({"num_filters": 8}, "is of shape"),
        ({"num_lstm_layers": 2}, "hold no 'encoder.layers.*lstm"),
    ],
)
def test_what_cannot_be_converted_is_refused(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        _converted(_peer(**SMALL), **settings)


def test_missing_weights_are_named() -> None:
    with pytest.raises(UserError, match="no codebook"):
        convert_encodec({}, {})
