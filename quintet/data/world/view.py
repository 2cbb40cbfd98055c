"""A page for one scene: five lanes over time, its sound, and what each row sees.

Shapes: N rows, Q = num_codebooks.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from PIL import Image

from quintet.config import SAMPLE_RATE, STEPS_PER_SECOND, UserError
from quintet.data.scene_rows import SceneEncoder
from quintet.data.world.scene_files import labels, spoken_replies
from quintet.data.world.scenes import DRAWING_STEPS, Scene
from quintet.data.world.static_page import make_page, png_source
from quintet.timeline.masks import live_sight
from quintet.timeline.rows import Rows
from quintet.timeline.streams import STREAMS, Modality, Stream
from quintet.tokenizers.text import TextTokenizer
from quintet.whole_file import whole_file

LANES = (
    Stream.TEXT_IN, Stream.AUDIO_IN, Stream.IMAGE_IN, Stream.TEXT_OUT, Stream.AUDIO_OUT,
)  # fmt: skip
PEAKS_PER_SECOND = 100  # of the drawn waveforms


def write_view(scene: Scene, encoder: SceneEncoder, path: Path, name: str) -> None:
    """Write the page of `scene`, whose title is `name`, whole or not at all.

    Raises:
        UserError: the file cannot be written.
    """
    data = {"name": name, **scene_data(scene, encoder)}
    title = f"{name}: {data['seconds']:g} s"
    try:
        with whole_file(path) as file:
            file.write(make_page(title, "view", data).encode())
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error.strerror}); choose another folder."
        ) from None


def scene_data(scene: Scene, encoder: SceneEncoder) -> dict[str, Any]:
    """What the page of a scene shows, as JSON can hold it. Times are in seconds.

    The rows are those of the clock. A speaker's, before it, all may see: they are told in words.
    """
    rows = encoder.timeline(replace(scene, speaker=None)).streams()
    replies = spoken_replies(scene)
    return {
        "about": f"{scene.source or f'seed {scene.seed}'}, {scene.split}",
        "speaker": _speaker(scene),
        "seconds": scene.num_steps / STEPS_PER_SECOND,
        "steps_per_second": STEPS_PER_SECOND,
        "window_steps": encoder.config.live.window_steps,
        "lanes": [{"stream": int(stream), "label": STREAMS[stream].label} for stream in LANES],
        "sound": _sound(scene.microphone, replies),
        "waves": {
            int(Stream.AUDIO_IN): _peaks(scene.microphone), int(Stream.AUDIO_OUT): _peaks(replies),
        },
        "spans": list(_spans(labels(scene))),
        "pictures": list(_pictures(scene)),
        "rows": _row_columns(rows, encoder.tokenizers.text, encoder.config.text.vocab_size),
        "sees": seen_ranges(rows, encoder.config.live.window_steps),
    }  # fmt: skip


def _speaker(scene: Scene) -> dict[str, str] | None:
    """In whose voice the assistant answers, and what it has heard of that."""
    if scene.speaker is None:
        return None
    heard = scene.speaker.sound
    return {"voice": scene.speaker.voice.name, "sound": _sound(heard, heard)}


def _spans(scene: dict[str, Any]) -> Iterable[dict[str, Any]]:
    """Everything said or written, from the labels: lane, who, text, start, end and words."""

    def span(stream: Stream, who: str, text: str, start: float, end: float, words: Any) -> Any:
        return {"stream": int(stream), "who": who, "text": text, "start": start, "end": end,
                "words": words}  # fmt: skip

    for line in scene["lines"]:
        yield span(
            Stream.AUDIO_IN, line["speaker"], line["text"], line["start_seconds"],
            line["end_seconds"], line["words"],
        )  # fmt: skip
    step = 1 / STEPS_PER_SECOND
    for typed in scene["typed"]:
        start = typed["step"] * step
        yield span(Stream.TEXT_IN, "user", typed["text"], start, start + step, [])
    for reply in scene["replies"]:
        start = reply["step"] * step
        end = start + reply["seconds"]
        yield span(Stream.AUDIO_OUT, "assistant", reply["text"], start, end, reply["words"])
        yield span(Stream.TEXT_OUT, "assistant", reply["text"], start, start + step, [])


def _pictures(scene: Scene) -> Iterable[dict[str, Any]]:
    for shown in scene.shown:
        yield {
            "stream": int(Stream.IMAGE_IN), "start": shown.step / STEPS_PER_SECOND,
            "seconds": 1 / STEPS_PER_SECOND, "title": shown.thing.name, "who": "user",
            "source": _png(shown.picture),
        }  # fmt: skip
    for reply in scene.replies:
        if reply.drawing is not None:
            yield {
                "stream": int(Stream.TEXT_OUT), "start": reply.step / STEPS_PER_SECOND,
                "seconds": DRAWING_STEPS / STEPS_PER_SECOND, "who": "assistant",
                "title": reply.thing.name if reply.thing else "", "source": _png(reply.drawing),
            }  # fmt: skip


def _row_columns(rows: Rows, text: TextTokenizer, text_vocab_size: int) -> dict[str, Any]:
    """The table stream after stream; `rank` is each row's place in the live order, `start` and
    `seconds` its share of its step's time."""
    step = rows.step.astype(np.int64)
    # Rows of one stream and step stand together: each has an equal part of the step.
    _, first, inverse, count = np.unique(
        rows.stream.astype(np.int64) * (1 << 32) + step,
        return_index=True,
        return_inverse=True,
        return_counts=True,
    )
    place = np.arange(len(rows)) - first[inverse]
    start = (step + place / count[inverse]) / STEPS_PER_SECOND
    names = []
    for modality, tokens in zip(rows.modality, rows.tokens.tolist(), strict=True):
        if modality == Modality.TEXT:
            special = {text.end_id: "end", text.image_id: "picture"}
            names.append(special.get(tokens[0]) or text.decode([tokens[0]]))
        elif modality == Modality.IMAGE:
            names.append(f"code {tokens[0] - text_vocab_size}")
        else:
            names.append("codes " + " ".join(map(str, tokens)))
    return {
        "stream": rows.stream.tolist(),
        "modality": [Modality(m).name.lower() for m in rows.modality],
        "step": step.tolist(),
        "position": rows.position.tolist(),
        "rank": live_sight(rows).rank[0].tolist(),
        "start": np.round(start, 4).tolist(),
        "seconds": np.round(1 / STEPS_PER_SECOND / count[inverse], 4).tolist(),
        "name": names,
    }


def seen_ranges(rows: Rows, window_steps: int) -> list[list[int]]:
    """For each row, what it may see: first, end, first, end... of ranges of rows, as `rows`
    lie."""
    sight = live_sight(rows, window_steps)
    every = np.arange(len(rows))
    ranges = []
    for row in range(len(rows)):
        edges = np.flatnonzero(np.diff(sight.may_see(0, row, every), prepend=False, append=False))
        ranges.append(edges.tolist())
    return ranges


def _peaks(samples: np.ndarray) -> list[int]:
    """The largest magnitude of each stretch, 0 to 100; of the whole sound's largest 100."""
    hop = SAMPLE_RATE // PEAKS_PER_SECOND
    peaks = np.abs(np.pad(samples, (0, -len(samples) % hop)).reshape(-1, hop)).max(1)
    loudest = max(float(peaks.max(initial=0)), 0.01)
    return [round(100 * float(peak) / loudest) for peak in peaks]


def _sound(left: np.ndarray, right: np.ndarray) -> str:
    file = io.BytesIO()
    both = np.clip(np.stack([left, right], 1), -1, 1)
    soundfile.write(file, both, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return "data:audio/flac;base64," + base64.b64encode(file.getvalue()).decode()


def _png(picture: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format="PNG")
    return png_source(file.getvalue())
