"""Pictures of things from the Noto Color Emoji font."""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from quintet.config import UserError

FONT_PIXELS = 109  # the only size at which this bitmap font exists
CANVAS = 160  # pixels on a side, before the empty border is cut away


@functools.cache
def _font() -> ImageFont.FreeTypeFont:
    path = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
    if not path.exists():
        try:
            command = ["fc-match", "-f", "%{file}", "Noto Color Emoji"]
            path = Path(subprocess.run(command, check=False, capture_output=True, text=True).stdout)
        except FileNotFoundError:
            path = Path("missing")
    if path.name != "NotoColorEmoji.ttf" or not path.exists():
        raise UserError(
            "The synthetic world's pictures come from the font Noto Color Emoji, which is not "
            "installed; install the Debian package fonts-noto-color-emoji."
        )
    return ImageFont.truetype(str(path), FONT_PIXELS)


@functools.cache
def render_emoji(character: str) -> Image.Image:
    """The emoji as RGBA, cut to its content (about 136 x 128 pixels).

    Raises:
        UserError: the font is not installed.
    """
    image = Image.new("RGBA", (CANVAS, CANVAS))
    draw = ImageDraw.Draw(image)
    draw.text((8, 16), character, font=_font(), embedded_color=True)
    box = image.getbbox()
    assert box is not None, f"the font has no picture of {character!r}"
    return image.crop(box)
