"""Events and frames as nobody should send them: strategies of hypothesis, and how long to try.

`QUINTET_FUZZ=1000` tries so many examples of each, at random; the usual few are always the same.
"""

from __future__ import annotations

import base64
import io
import os
import struct
from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from PIL import Image

from quintet.serve.protocol import encode_sound

LONGER = int(os.environ.get("QUINTET_FUZZ", "0"))


def profile(examples: int, **more: Any) -> settings:
    """So many examples, or as many as the environment says."""
    return settings(
        max_examples=LONGER or examples, derandomize=not LONGER, deadline=None, database=None,
        suppress_health_check=list(HealthCheck), **more,
    )  # fmt: skip


def _png() -> str:
    file = io.BytesIO()
    Image.new("RGB", (8, 6), "red").save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


TONE = encode_sound(0.3 * np.sin(np.arange(6_000) / 9).astype(np.float32))
SOUND = base64.b64encode(TONE).decode()
STILL = base64.b64encode(bytes(24_000)).decode()

# Of every event, examples that are right; a strategy then spoils one or another.
IDS = st.sampled_from(["item_a", "item_b", "item_c", "root", "nobody"])
sounds = st.sampled_from([SOUND, STILL, SOUND[:400], "", "AAA="])
parts = st.lists(
    st.sampled_from([
        {"type": "input_text", "text": "hello"}, {"type": "input_text", "text": "draw"},
        {"type": "input_audio", "audio": SOUND}, {"type": "input_image", "image_url": _png()},
    ]),
    min_size=1, max_size=3,
)  # fmt: skip
items = st.one_of(
    st.fixed_dictionaries(
        {"type": st.just("message"), "role": st.just("user"), "content": parts},
        optional={"id": IDS},
    ),
    st.sampled_from([
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "x"}]},
        {"type": "message", "role": "assistant", "id": "item_c",
         "content": [{"type": "output_audio", "audio": SOUND, "transcript": "x"}]},
        {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "x"}]},
        {"type": "function_call", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "1"},
    ]),
)  # fmt: skip
detection = st.sampled_from([
    None, {"type": "server_vad"}, {"type": "server_vad", "idle_timeout_ms": 5_000},
    {"type": "server_vad", "create_response": False, "silence_duration_ms": 10},
    {"type": "semantic_vad", "eagerness": "high"}, {"type": "semantic_vad"},
])  # fmt: skip
formats = st.sampled_from([{"type": kind} for kind in ("audio/pcm", "audio/pcmu", "audio/pcma")])
realtime_sessions = st.fixed_dictionaries(
    {"type": st.just("realtime")},
    optional={
        "output_modalities": st.sampled_from([["audio"], ["text"]]),
        "instructions": st.just("be kind"),
        "max_output_tokens": st.sampled_from(["inf", 1, 4_096]),
        "audio": st.fixed_dictionaries({}, optional={
            "input": st.fixed_dictionaries({}, optional={
                "turn_detection": detection, "format": formats,
                "transcription": st.sampled_from([None, {"model": "x", "delay": "low"}]),
                "noise_reduction": st.just({"type": "near_field"}),
            }),
            "output": st.fixed_dictionaries({"format": formats}, optional={
                "speed": st.just(1.5), "voice": st.sampled_from(["marin", {"id": "v"}, "linda"]),
            }),
        }),
        "tools": st.just([{"type": "function", "name": "f", "parameters": {}},
                          {"type": "mcp", "server_label": "a", "headers": {"a": "b"}}]),
        "prompt": st.just({"id": "p", "version": "1", "variables": {"a": "b"}}),
        "tracing": st.sampled_from(["auto", {"workflow_name": "x"}]),
        "truncation": st.sampled_from(["auto", {"type": "retention_ratio",
                                                "retention_ratio": 0.5}]),
        "reasoning": st.just({"effort": "low"}),
        "include": st.just(["item.input_audio_transcription.logprobs"]),
        "quintet": st.just({"images": True}),
    },
)  # fmt: skip


def _event(kind: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"type": st.just(kind), **fields})


realtime_events = st.one_of(
    _event("session.update", session=realtime_sessions),
    _event("input_audio_buffer.append", audio=sounds),
    _event("input_audio_buffer.commit"),
    _event("input_audio_buffer.clear"),
    _event("conversation.item.create", item=items, previous_item_id=st.one_of(st.none(), IDS)),
    _event("conversation.item.retrieve", item_id=IDS),
    _event("conversation.item.truncate", item_id=IDS, content_index=st.integers(-1, 2),
           audio_end_ms=st.integers(-5, 10**6)),
    _event("conversation.item.delete", item_id=IDS),
    _event("response.create", response=st.one_of(st.none(), st.fixed_dictionaries({}, optional={
        "input": st.lists(
            st.one_of(items, IDS.map(lambda i: {"type": "item_reference", "id": i})), max_size=2
        ),
        "instructions": st.just("hello"), "output_modalities": st.just(["text"]),
        "max_output_tokens": st.integers(1, 50), "metadata": st.just({"a": "b"}),
        "audio": st.fixed_dictionaries({"output": st.fixed_dictionaries({"format": formats})}),
    }))),
    _event("response.cancel"),
)  # fmt: skip
live_events = st.one_of(
    _event("session.start", session=st.fixed_dictionaries({"model": st.just("x")}, optional={
        "audio": st.fixed_dictionaries({"format": formats}, optional={
            "output": st.just({"voice": "linda"})}), "instructions": st.just("x"),
        "delegation": st.sampled_from([None, {"type": "client"}]),
        "client": st.just({"data_channel": {}}), "store": st.just(True),
        "input": st.just([{"role": "user", "content": [{"text": "x"}]}]),
    })),
    _event("session.update", session=st.sampled_from([{"delegation": None}, {"triggers": []}])),
    _event("session.input_audio.append", audio=sounds),
    _event("session.input_audio.mute"),
    _event("session.input_audio.unmute"),
    *(_event(f"session.{name}.append", content=st.just("hello"), delegation_id=st.none())
      for name in ("commentary", "instructions", "thinking")),
)  # fmt: skip
page_events = st.sampled_from([
    {"type": "text", "text": "hello"}, {"type": "text", "text": "draw"}, {"type": "reset"},
    {"type": "transcribe", "id": 1, "seconds": 1}, {"type": "voice", "name": "linda"},
    {"type": "voice", "name": "quintet"},
    {"type": "image", "data": _png()},
])  # fmt: skip

odd = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8),
    st.sampled_from([10**400, -1, 2**63, "\ud800", "a" * 5_000, [], {}, [[]], {"type": None},
                     {"": {}}, SOUND, "data:image/png;base64,AAAA", float("nan"), 1e400]),
)  # fmt: skip


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where in `value` something can be spoilt."""
    found = [path] if path else []
    inner = (
        value.items() if isinstance(value, dict)
        else enumerate(value) if isinstance(value, list) else ()
    )  # fmt: skip
    for key, one in inner:
        found += paths(one, (*path, key))
    return found


@st.composite
def spoilt(draw: st.DrawFn, events: st.SearchStrategy[dict[str, Any]]) -> dict[str, Any]:
    """An event with a field replaced, missing, renamed, or too many."""
    event: Any = draw(events.map(_copied))
    path = draw(st.sampled_from(paths(event)))
    holder = event
    for key in path[:-1]:
        holder = holder[key]
    way = draw(st.sampled_from(["other", "other", "gone", "more", "text"]))
    if way == "gone" and isinstance(holder, dict):
        del holder[path[-1]]
    elif way == "more" and isinstance(holder, dict):
        holder[draw(st.text(max_size=6))] = draw(odd)
    elif way == "text" and isinstance(holder[path[-1]], str):
        holder[path[-1]] += draw(st.text(min_size=1, max_size=4))
    else:
        holder[path[-1]] = draw(odd)
    return event  # type: ignore[no-any-return]


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(one) for key, one in value.items()}
    return [_copied(one) for one in value] if isinstance(value, list) else value


@st.composite
def raw_frames(draw: st.DrawFn) -> bytes:
    """A frame of a WebSocket in which anything may be wrong: bits, opcode, mask, length."""
    data = draw(st.one_of(
        st.binary(max_size=200), st.sampled_from([b"{}", b'{"type": "reset"}', b"[" * 100, TONE]),
    ))  # fmt: skip
    first = draw(st.one_of(st.sampled_from([0x81, 0x82, 0x01, 0x80, 0x88, 0x89, 0x8A]),
                           st.integers(0, 255)))  # fmt: skip
    masked = draw(st.sampled_from([0x80, 0x80, 0x80, 0]))
    length = draw(st.sampled_from([len(data)] * 4 + [0, 125, 2**16, 2**40, 2**63]))
    if length < 126:
        head = struct.pack("!BB", first, masked | length)
    elif length < 2**16:
        head = struct.pack("!BBH", first, masked | 126, length)
    else:
        head = struct.pack("!BBQ", first, masked | 127, length)
    return head + (bytes(4) if masked else b"") + data
