"""Pictures as PNG bytes."""

import io
from collections.abc import Mapping

from PIL import Image, PngImagePlugin


def png_bytes(image: Image.Image, texts: Mapping[str, str] | None = None) -> bytes:
    """A PNG with text chunks; equal input gives equal bytes."""
    info = PngImagePlugin.PngInfo()
    for name, text in (texts or {}).items():
        info.add_itxt(name, text)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", pnginfo=info, compress_level=6)
    return buffer.getvalue()
