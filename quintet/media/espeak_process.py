"""A process of its own that speaks with libespeak-ng; started by `quintet.media.espeak`.

The library keeps something of every text that it has spoken, so that the same words sound a
little different the second time. Here each text is spoken by a fork of a process that has only
loaded the library: the same samples as the command espeak-ng makes, at a tenth of its cost, and
with the places of the words, which the command does not tell.

A request is a line of JSON: {"voice", "speed", "pitch", "text"}. The answer is a line of JSON,
{"rate", "bytes", "events": [[character, sample], ...]} or {"error"}, then the bytes: int16 samples.
Run as a file, without the package: standard library only.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import json
import os
import signal
import sys
from typing import Any

LIBRARIES = ("libespeak-ng.so.1", "libespeak-ng.so", "libespeak-ng.dylib")
SYNCHRONOUS = 2  # sound comes to the callback, before the call returns
RATE, PITCH = 1, 3  # parameters: words a minute, 0 to 99
FLAGS = 0x1100  # as the command: [[phonemes]] are understood, a pause ends a text
WORD, LIST_END = 1, 0  # kinds of events


class Event(ctypes.Structure):
    """`espeak_EVENT`: characters are counted from 1, `sample` from the text's first."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    )


class VoiceProperties(ctypes.Structure):
    """`espeak_VOICE`."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_char_p),
        ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte),
        ("age", ctypes.c_ubyte),
        ("variant", ctypes.c_ubyte),
        ("padding", ctypes.c_ubyte),
        ("score", ctypes.c_int),
        ("spare", ctypes.c_void_p),
    )


Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(Event)
)


def load() -> ctypes.CDLL | None:
    """The library; None where there is none."""
    found = ctypes.util.find_library if sys.platform == "darwin" else lambda _: None
    for name in (*LIBRARIES, found("espeak-ng")):
        try:
            return ctypes.CDLL(name) if name else None
        except OSError:
            continue
    return None


def speak(library: ctypes.CDLL, rate: int, asked: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """The answer to a request, in a process that has not spoken yet."""
    name = asked["voice"].encode()
    if library.espeak_SetVoiceByName(name) != 0:
        # As the command does: what is no voice's name may be a language.
        voice = VoiceProperties(languages=name)
        if library.espeak_SetVoiceByProperties(ctypes.byref(voice)) != 0:
            return {"error": "no such voice"}, b""
    library.espeak_SetParameter(RATE, asked["speed"], 0)
    library.espeak_SetParameter(PITCH, asked["pitch"], 0)
    sound: list[bytes] = []
    events: list[tuple[int, int]] = []

    def hear(samples: Any, count: int, happened: Any) -> int:
        if samples and count > 0:
            sound.append(ctypes.string_at(samples, 2 * count))
        index = 0
        while happened[index].type != LIST_END:
            if happened[index].type == WORD:
                events.append((happened[index].text_position, happened[index].sample))
            index += 1
        return 0

    heard = Callback(hear)
    library.espeak_SetSynthCallback(heard)
    text = asked["text"].encode() + b"\0"
    if library.espeak_Synth(text, len(text), 0, 0, 0, FLAGS, None, None) != 0:
        return {"error": "it would not speak"}, b""
    data = b"".join(sound)
    return {"rate": rate, "bytes": len(data), "events": events}, data


def answer(reply: dict[str, Any], data: bytes = b"") -> None:
    sys.stdout.buffer.write(json.dumps(reply).encode() + b"\n" + data)
    sys.stdout.buffer.flush()


def main() -> None:
    """Answer requests until the input ends, which it does when the parent process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    library = load()
    rate = library.espeak_Initialize(SYNCHRONOUS, 0, None, 0) if library else -1
    if library is not None and rate > 0:
        library.espeak_ListVoices(None)  # kept by the library: else every fork looks for them
    for line in sys.stdin.buffer:
        if library is None or rate <= 0:
            answer({"missing": True})
            continue
        child = os.fork()
        if child == 0:
            answer(*speak(library, rate, json.loads(line)))
            os._exit(0)
        if os.waitpid(child, 0)[1] != 0:
            answer({"error": "it broke down"})


if __name__ == "__main__":
    main()
