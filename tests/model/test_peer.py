"""Our block equals a peer's with copied weights: Qwen3 of transformers, which also norms queries
and keys; its rotation is switched off by giving every row position 0."""

import pytest
import torch
from conftest import make_config, make_model

transformers = pytest.importorskip("transformers", reason="the peer is not installed")


@torch.no_grad()
def test_trunk_equals_qwen3() -> None:
    sizes = make_config().model
    trunk = make_model(make_config()).transformer
    peer = transformers.Qwen3Model(
        transformers.Qwen3Config(
            vocab_size=8,
            hidden_size=sizes.d_model,
            intermediate_size=sizes.d_feed_forward,
            num_hidden_layers=sizes.num_layers,
            num_attention_heads=sizes.num_heads,
            num_key_value_heads=sizes.num_kv_heads,
            head_dim=sizes.d_model // sizes.num_heads,
            rms_norm_eps=torch.finfo(torch.float32).eps,
        )
    ).eval()
    width = sizes.d_model // sizes.num_heads
    for ours, theirs in zip(trunk.layers, peer.layers, strict=True):
        grouped = ours.attention.query_key_value.weight.unflatten(0, (sizes.num_kv_heads, -1))
        q, k, v = (
            part.flatten(0, 1)
            for part in grouped.split([grouped.shape[1] - 2 * width, width, width], dim=1)
        )
        copies = {
            theirs.self_attn.q_proj: q, theirs.self_attn.k_proj: k, theirs.self_attn.v_proj: v,
            theirs.self_attn.o_proj: ours.attention.output.weight,
            theirs.mlp.gate_proj: ours.feed_forward.gate.weight,
            theirs.mlp.up_proj: ours.feed_forward.up.weight,
            theirs.mlp.down_proj: ours.feed_forward.down.weight,
            theirs.input_layernorm: ours.attention_norm.weight,
            theirs.post_attention_layernorm: ours.feed_forward_norm.weight,
            theirs.self_attn.q_norm: ours.attention.query_norm.weight,
            theirs.self_attn.k_norm: ours.attention.key_norm.weight,
        }  # fmt: skip
        for module, weight in copies.items():
            module.weight.copy_(weight)
    peer.norm.weight.copy_(trunk.norm.weight)
    x_BTD = torch.randn(2, 11, sizes.d_model)
    position = torch.zeros(2, 11, dtype=torch.long)
    expected = peer(inputs_embeds=x_BTD, position_ids=position).last_hidden_state
    torch.testing.assert_close(trunk(x_BTD), expected, rtol=1e-4, atol=1e-4)
