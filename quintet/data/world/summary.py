"""What lies beside the scenes of a set: its statistics, and the page that lists it."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from quintet.config import STEPS_PER_SECOND
from quintet.data.world import statistics
from quintet.data.world.scene_files import read_labels, scene_folder
from quintet.data.world.static_page import make_page, png_source
from quintet.whole_file import whole_file

LISTED = 500  # scenes that the page of a set lists


def write_summary(folder: Path, count: int) -> dict[str, Any]:
    """Write `statistics.json`, `statistics.png` and `index.html` of the set's first `count`
    scenes; the statistics.

    Raises:
        UserError: a scene's labels are missing or damaged.
    """
    scenes = [read_labels(scene_folder(folder, index)) for index in range(count)]
    found = statistics.collect(scenes)
    picture = io.BytesIO()
    statistics.plot(found, scenes, picture)
    listed = list(_listed(folder, scenes[:LISTED]))
    data: dict[str, Any] = {
        "title": f"{count:,} scenes", "scenes": listed, "unlisted": max(0, count - LISTED),
        "statistics": found, "picture": png_source(picture.getvalue()),
    }  # fmt: skip
    files = {
        "statistics.json": (json.dumps(found, indent=1, ensure_ascii=False) + "\n").encode(),
        "statistics.png": picture.getvalue(),
        "index.html": make_page(data["title"], "index", data).encode(),
    }
    for name, content in files.items():
        with whole_file(folder / name) as file:
            file.write(content)
    return found


def _listed(folder: Path, scenes: list[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    for index, scene in enumerate(scenes):
        path = scene_folder(folder, index)
        said = [(line["start_seconds"], line["text"]) for line in scene["lines"]]
        said += [(typed["step"] / STEPS_PER_SECOND, typed["text"]) for typed in scene["typed"]]
        said += [(reply["step"] / STEPS_PER_SECOND, reply["text"]) for reply in scene["replies"]]
        yield {
            "name": path.name,
            "seconds": scene["num_steps"] / STEPS_PER_SECOND,
            "texts": [text for _, text in sorted(said) if text],
            "page": f"{path.name}/view.html" if (path / "view.html").exists() else None,
        }
