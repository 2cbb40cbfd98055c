"""The live protocol: what a client and the server say to each other over one WebSocket.

Events are JSON objects in text frames, told apart by `type`. Sound is PCM16: mono, 24 kHz,
little-endian, in binary frames.

Client to server, at any time and in any order:

    binary                                      microphone sound, at most 2 s in one frame
    {"type": "text", "text": "draw a cat."}     a typed message, at most 2,000 characters
    {"type": "image", "data": "data:image/png;base64,..."}   a picture, or a frame of a camera
    {"type": "sampling", "text_temperature": 0.5}   how the model chooses from its next step on;
                                                also `audio_temperature` and `image_temperature`,
                                                0 to 2, and as the hello event has it where one is
                                                left out
    {"type": "transcribe", "id": 7, "seconds": 2.4}   write down the last sound that was sent, 30 s
                                                of it at most
    {"type": "reset"}                           begin a new conversation
    {"type": "voice", "name": "quintet"}        the same, in one of the voices of the hello
                                                event; later conversations keep it

Server to client:

    {"type": "hello", ...}      once, first: model, voices, clock, sizes and limits (`hello`)
    {"type": "image", ...}      the picture being drawn, as far as it is: `data` (a PNG data URL),
                                `done`, `step`; it stands before the step that it belongs to
    {"type": "step", ...}       four times a second: `step`, `text` (new words), `text_ended`,
                                `speaking`, `counts` (rows of each stream), `no_output`
                                (probability of silence: text+image head, audio head),
                                `milliseconds` (to compute it), `input_level` (RMS, 0 to 1),
                                `skipped` (steps left out before it, as the model was late)
    binary                      follows a step whose `speaking` is true: its 6,000 samples
    {"type": "transcript", ...} of the `id` that a transcribe event had: `text`, the words as the
                                model hears them, "" if it heard none; null, and `message`, if
                                they could not be written down
    {"type": "reset"}           the old conversation is over; steps count from 1 again
    {"type": "error", ...}      `message`: one sentence. The session goes on.

The clock never waits for a client: a step without sound hears silence. The server closes with
1008 (too many bad messages), 1009 (a frame larger than any limit), 1011 (the model failed), 1013
(no free place, or the client reads too slowly: come back later), or 4000 (nothing but silence came
for ten minutes). A foreign origin is refused at the handshake, with HTTP 403.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from quintet.config import SAMPLE_RATE, STEP_SAMPLES, STEPS_PER_SECOND, OmniConfig, UserError
from quintet.live.sampling import Sampling
from quintet.live.session import StepOutput
from quintet.live.speakers import OWN_VOICE
from quintet.media.images import read_image_bytes

IDLE = 4000  # close code, of those that are free for applications
MAX_TEXT = 2_000  # characters of one typed message
MAX_MESSAGE = 8 * 2**20  # bytes of one text frame, picture included
MAX_SOUND = 2 * SAMPLE_RATE * 2  # bytes of one binary frame: 2 s
IMAGES_PER_SECOND = 4
LONGEST = 30  # seconds of sound that are written down at once
MAX_FRAME = 16 * 2**20  # bytes of one frame on any socket: the other APIs take sound by the minute
SHORT = 65_536  # characters; only a picture needs more
STRUCTURE, STRUCTURE_MAX = "[{,", 16  # a long message has fewer: parsing many holds up everybody
MAX_PIXELS = 4_000_000  # of a received picture: the page sends 384 x 384 at most
SIDE = 1_024  # pixels that a received picture keeps; more would only burden the model's thread
MAX_TEMPERATURE = 2.0
SHOWN = 192  # pixels at least of a drawn picture, so that small ones do not look like stamps

MEDIA = ("text", "audio", "image")  # that have a temperature
PICTURE_TYPES = ("png", "jpeg", "webp", "gif", "bmp")


@dataclass(frozen=True)
class TextMessage:
    """Something typed."""

    text: str


@dataclass(frozen=True)
class ImageMessage:
    """A picture, still in base64: decoding is slow and belongs to another thread."""

    base64: str


@dataclass(frozen=True)
class SamplingMessage:
    """How the model is to choose."""

    sampling: Sampling


@dataclass(frozen=True)
class TranscribeMessage:
    """The last `seconds` of sound are to be written down."""

    id: int
    seconds: float


@dataclass(frozen=True)
class ResetMessage:
    """The person wants a new conversation."""


@dataclass(frozen=True)
class VoiceMessage:
    """The person wants a new conversation in another voice."""

    name: str


Message = (
    TextMessage | ImageMessage | SamplingMessage | TranscribeMessage | ResetMessage | VoiceMessage
)


def parse_event(frame: str) -> Message:
    """What a client's text frame says.

    Raises:
        UserError: it is not one of the client's events, or it is too long.
    """
    if len(frame) > MAX_MESSAGE:
        raise UserError(f"A message may have {MAX_MESSAGE // 2**20} MB; send a smaller one.")
    if len(frame) > SHORT and sum(map(frame.count, STRUCTURE)) > STRUCTURE_MAX:
        raise UserError(
            f"Only a picture may have more than {SHORT:,} characters; send texts in parts."
        )
    try:
        event = json.loads(frame)
    except (ValueError, RecursionError):  # deep nesting exhausts the stack of the parser
        raise UserError("The message is not JSON; send an object with a type.") from None
    kind = event.get("type") if isinstance(event, dict) else None
    if kind == "text":
        return TextMessage(_typed(event.get("text")))
    if kind == "image":
        return ImageMessage(picture_body(event.get("data")))
    if kind == "sampling":
        return SamplingMessage(_sampling(event))
    if kind == "transcribe":
        return _transcribe(event)
    if kind == "reset":
        return ResetMessage()
    if kind == "voice":
        name = event.get("name")
        return VoiceMessage(name if isinstance(name, str) else "")
    raise UserError(
        "The message has no known type; use text, image, sampling, transcribe, reset or voice."
    )


def _transcribe(event: dict[str, Any]) -> TranscribeMessage:
    number: Any = event.get("id")
    seconds: Any = event.get("seconds")
    if not _is_number(number, int) or not 0 <= number < 2**53:
        raise UserError("The id must be a whole number from 0 on; count what you ask for.")
    if not _is_number(seconds, int | float) or not 0 < seconds <= LONGEST:
        raise UserError(f"The seconds must be a number above 0, and {LONGEST} at most.")
    return TranscribeMessage(number, float(seconds))


def _is_number(value: Any, kind: Any) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _sampling(event: dict[str, Any]) -> Sampling:
    names = [f"{medium}_temperature" for medium in MEDIA]
    given = {name: event[name] for name in names if name in event}
    for name, value in given.items():
        # NaN is refused, too.
        if not _is_number(value, int | float) or not 0 <= value <= MAX_TEMPERATURE:
            raise UserError(f"The {name} must be a number from 0 to {MAX_TEMPERATURE:g}.")
    return Sampling(**{name: float(value) for name, value in given.items()})


def _typed(text: object) -> str:
    if not isinstance(text, str) or not text.strip():
        raise UserError("The text is empty; type something first.")
    if len(text) > MAX_TEXT:
        raise UserError(
            f"A text may have {MAX_TEXT:,} characters and this one has {len(text):,}; "
            "send it in parts."
        )
    # JSON can hold half of a surrogate pair, which no tokenizer can encode.
    return text.encode("utf-8", "replace").decode("utf-8")


def picture_body(url: object) -> str:
    """The base64 part of a picture's data URL.

    Raises:
        UserError: another kind of URL.
    """
    head, comma, body = url.partition(",") if isinstance(url, str) else ("", "", "")
    if not comma or head not in {f"data:image/{kind};base64" for kind in PICTURE_TYPES}:
        raise UserError(
            f"The picture must be a base64 data URL; use one of {', '.join(PICTURE_TYPES)}."
        )
    return body


def decode_picture(body: str) -> np.ndarray:
    """uint8 [H, W, 3], at most `SIDE` pixels on a side, of a file in base64.

    Raises:
        UserError: no picture that can be read.
    """
    try:
        data = base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        raise UserError("The picture is not valid base64; send it again.") from None
    picture = read_image_bytes(data, max_pixels=MAX_PIXELS)
    picture.thumbnail((SIDE, SIDE))
    return np.asarray(picture)


def decode_sound(frame: bytes) -> np.ndarray:
    """float32 [N] in [-1, 1) of a binary frame.

    Raises:
        UserError: half a sample, or more than 2 s.
    """
    if len(frame) % 2:
        raise UserError("The sound has half a sample; send PCM16, two bytes a sample.")
    if len(frame) > MAX_SOUND:
        raise UserError("One frame may hold 2 s of sound; send it in shorter pieces.")
    return samples_of(frame)


def samples_of(pcm16: bytes) -> np.ndarray:
    """float32 [N] in [-1, 1)."""
    return np.frombuffer(pcm16, "<i2").astype(np.float32) / 32_768


def encode_sound(audio: np.ndarray) -> bytes:
    """PCM16 of float32 [N]; what lies outside [-1, 1] is clipped."""
    samples: np.ndarray = (np.clip(audio, -1, 1) * 32_767).astype("<i2")
    return bytes(samples.tobytes())


def hello(config: OmniConfig, voices: Sequence[str] = (OWN_VOICE,)) -> dict[str, Any]:
    """The server's first event; `rows` says how many rows fill one step of each stream."""
    audio = config.audio.frames_per_step
    return {
        "type": "hello",
        "preset": config.name,
        "sample_rate": SAMPLE_RATE,
        "steps_per_second": STEPS_PER_SECOND,
        "step_samples": STEP_SAMPLES,
        "image_size": config.image.size,
        "window_steps": config.live.window_steps,
        "voices": list(voices),
        "rows": {
            "text_in": config.live.text_image_rows_per_step,
            "audio_in": audio,
            "image_in": config.image.num_tokens,
            "text_out": config.live.text_image_rows_per_step,
            "image_out": config.live.text_image_rows_per_step,
            "audio_out": audio,
        },
        "sampling": {f"{medium}_temperature": _usual(medium) for medium in MEDIA},
        "limits": {
            "text": MAX_TEXT,
            "message": MAX_MESSAGE,
            "images": IMAGES_PER_SECOND,
            "transcript": LONGEST,
            "temperature": MAX_TEMPERATURE,
        },
    }


def _usual(medium: str) -> float:
    temperature: float = getattr(Sampling(), f"{medium}_temperature")
    return temperature


def step_event(output: StepOutput, input_level: float, skipped: int = 0) -> dict[str, Any]:
    """The event of one step, before which `skipped` steps were left out."""
    return {
        "type": "step",
        "step": output.step,
        "text": output.text,
        "text_ended": output.text_ended,
        "speaking": output.speaking,
        "counts": output.counts,
        "no_output": [round(float(p), 4) for p in output.no_output],
        "milliseconds": round(output.seconds * 1_000, 1),
        "input_level": round(input_level, 4),
        "skipped": skipped,
    }


def image_event(output: StepOutput) -> dict[str, Any]:
    """The event of a step that drew; `output.image` must be there."""
    assert output.image is not None
    picture = Image.fromarray(output.image)
    longest = max(picture.size)
    if longest < SHOWN:
        size = (picture.width * SHOWN // longest, picture.height * SHOWN // longest)
        picture = picture.resize(size, Image.Resampling.BICUBIC)
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=1)  # speed matters more than a few kilobytes
    data = base64.b64encode(file.getvalue()).decode("ascii")
    return {
        "type": "image",
        "step": output.step,
        "data": f"data:image/png;base64,{data}",
        "done": output.image_done,
    }


def transcript_event(number: int, text: str | None, message: str = "") -> dict[str, Any]:
    """What was said; without a text the message tells why there is none."""
    event = {"type": "transcript", "id": number, "text": text}
    return event | {"message": message} if message else event


def error_event(message: str) -> dict[str, str]:
    return {"type": "error", "message": message}
