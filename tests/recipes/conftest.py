"""Made-up pictures.

Emoji: discs and bars in five tones or none, in two styles, each with a corner of its own. Halves: grey
pictures whose class is the brighter half.
"""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SIZE = 16
TONES = {  # nobody's skin, and easily told apart
    "light": (230, 40, 40),
    "medium-light": (220, 190, 30),
    "medium": (40, 200, 60),
    "medium-dark": (40, 60, 230),
    "dark": (200, 40, 200),
}


def _picture(index: int, shape: str, tone: str | None, style: str, place: int) -> bytes:
    picture = np.full((SIZE, SIZE, 3), 255, dtype=np.uint8)
    down, across = np.mgrid[:SIZE, :SIZE] - (6.5 + place)
    inside = np.hypot(down, across) < 4.5 if shape == "disc" else (abs(down) < 2) & (abs(across) < 6)
    picture[inside] = TONES[tone] if tone else 110
    if style == "noto":
        picture[-2:, :] = 0  # a line below
    picture[0, 0] = index % 251, index // 251, 0  # names the picture
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.fixture(scope="session")
def write_emoji() -> Callable[[Path, int], Path]:
    """`(zip, number of numbered shapes of each kind) → zip` of that × 2 shapes × 6 tones × 2 styles."""

    def write(path: Path, count: int) -> Path:
        rows = []
        with zipfile.ZipFile(path, "w") as file:
            for number in range(count):
                for shape in ("disc", "bar"):
                    for tone in (None, *TONES):
                        text = f"{shape} {number}" + (f", {tone} skin tone" if tone else "")
                        for style in ("noto", "twemoji"):
                            row = {"text": text, "subcategory": shape, "style": style, "unified": "0"}
                            rows.append({"file_name": f"{len(rows):04d}.png", "tags": ["figure"], **row})
                            file.writestr(
                                f"{len(rows) - 1:04d}.png",
                                _picture(len(rows) - 1, shape, tone, style, number % 4),
                            )
            file.writestr("metadata.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        return path

    return write


@pytest.fixture(scope="session")
def write_halves() -> Callable[..., Path]:
    """`(folder, classes, count) → folder` of 8×8 grey pictures, `count` of each class.

    The left half is bright in the first class and the right one in the others, by random amounts.
    """

    def write(folder: Path, classes: tuple[str, ...] = ("left", "right"), count: int = 48) -> Path:
        rng = np.random.default_rng(0)
        for name in classes:
            (folder / name).mkdir(parents=True)
            for index in range(count):
                picture = np.empty((8, 8))
                picture[:, :4], picture[:, 4:] = rng.uniform(150, 255), rng.uniform(0, 100)
                if name != classes[0]:
                    picture = picture[:, ::-1]
                Image.fromarray(picture.astype(np.uint8)).save(folder / name / f"{index}.png")
        return folder

    return write


@pytest.fixture(scope="session")
def toy_folders(tmp_path_factory, write_halves: Callable[..., Path]) -> tuple[Path, Path, Path]:
    """Model, pictures, judge: of halves, of which one or the other is bright; the weights are random."""
    import torch

    from melies import checkpoint
    from melies.images.classifier import ClassifierConfig, Head, ImageClassifier
    from melies.images.model import ImageDiffusion, ImageDiffusionConfig
    from melies.nn.unet import UNetConfig

    classes = ("left", "right")
    root = tmp_path_factory.mktemp("toy")
    data = write_halves(root / "halves", count=40)
    torch.manual_seed(0)
    shape = {"channels": 1, "size": 8, "widths": (8,), "blocks": 1, "attention": (8,), "head_dim": 8}
    network = UNetConfig(**shape, dim=16, num_classes=2)
    config = ImageDiffusionConfig(network=network, size=8, channels=1, sigma_data=0.5, classes=classes)
    model = ImageDiffusion(config)
    with torch.no_grad():  # a fresh network predicts zero, whatever it is asked
        for parameter in model.parameters():
            parameter.add_(0.15 * torch.randn(parameter.shape))
    folder = checkpoint.save(root / "model", model, ema=model.state_dict())
    heads = (Head(name="class", classes=classes),)
    judge = ImageClassifier(
        ClassifierConfig(heads=heads, size=8, channels=1, stem=1, widths=(8,), feature_dim=4)
    )
    with torch.no_grad():
        judge.heads["class"].weight.mul_(20)
    return folder, data, checkpoint.save(root / "judge", judge)
