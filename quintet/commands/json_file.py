"""The option by which a command's numbers are written to a file, too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from quintet.whole_file import write_whole

JSON = click.option("--json", "json_file", type=click.Path(path_type=Path),
                    help="Also write the numbers here.")  # fmt: skip


def write_json(values: Any, path: Path | None) -> None:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(values, indent=2) + "\n")
