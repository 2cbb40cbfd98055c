"""What a scene holds, in a few characters; run as a file, the digests of the scenes it is told, and
that of what the libraries give here by themselves."""

import functools
import hashlib
import json
import subprocess
import sys

import numpy as np
import soxr

from quintet.data.world.encounters import make_encounter
from quintet.data.world.scenes import Scene, make_scene
from quintet.data.world.sights import make_sights

MAKERS = {
    "scene": make_scene, "encounter": make_encounter, "sights": make_sights,
    "counting": functools.partial(make_sights, kinds=("how_many",)),
}  # fmt: skip


def made(name: str) -> Scene:
    """Of a name such as "train-0" or "sights-test-9"."""
    *kind, split, seed = name.split("-")
    scene: Scene = MAKERS[kind[0] if kind else "scene"](int(seed), split)
    return scene


def libraries() -> str:
    """Other versions of them, or other processors, may round otherwise."""
    command = ["espeak-ng", "-v", "en-us+f2", "-s", "145", "-p", "55", "--stdout", "--stdin"]
    spoken = subprocess.run(command, input=b"This is an apple.", capture_output=True, check=True)
    normal = np.random.default_rng(0).standard_normal(1_000)
    parts = (
        spoken.stdout, normal.tobytes(), np.sin(normal * 100).tobytes(),
        soxr.resample(normal.astype(np.float32), 22_050, 24_000).tobytes(),
        np.convolve(normal, normal[:32]).tobytes(),
        np.convolve(normal.astype(np.float32), np.full(32, 0.2, np.float32)).tobytes(),
    )  # fmt: skip
    return hashlib.sha256(b"".join(parts)).hexdigest()[:16]


def digest(scene: Scene) -> str:
    """Of everything that rows are made from: sound, texts, pictures and their times."""
    hashed = hashlib.sha256()

    def put(*values: object) -> None:
        for value in values:
            bytes_ = value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode()
            hashed.update(bytes_)

    put(scene.seed, scene.split, scene.num_steps, scene.microphone)
    for line in scene.lines:
        assert line.voice is not None
        put(line.text, line.start_sample, line.end_sample, line.voice.name, line.voice.speed,
            line.voice.pitch, line.speaker)  # fmt: skip
    for typed in scene.typed:
        put(typed.step, typed.text)
    for shown in scene.shown:
        put(shown.step, shown.thing.name, shown.picture)
    for reply in scene.replies:
        put(reply.step, reply.kind, reply.request, reply.typed, reply.text, reply.speech,
            reply.thing and reply.thing.name)  # fmt: skip
        if reply.drawing is not None:
            put(reply.drawing)
        if reply.until_step is not None:
            put(reply.until_step)
    for moment in scene.moments:
        put(moment.kind, moment.start_sample, moment.end_sample)
    return hashed.hexdigest()[:16]


if __name__ == "__main__":
    digests = {name: digest(made(name)) for name in json.loads(sys.argv[1])}
    print(json.dumps({"libraries": libraries()} | digests))
