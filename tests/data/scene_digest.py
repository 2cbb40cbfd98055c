"""What a scene holds, in a few characters; run as a file, the digests of the scenes it is told."""

import hashlib
import json
import sys

import numpy as np

from quintet.data.world.scenes import Scene, make_scene


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
    asked = json.loads(sys.argv[1])
    print(json.dumps({f"{s}-{n}": digest(make_scene(n, s)) for s, n in asked}))
