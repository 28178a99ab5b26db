"""Sets that everybody knows and melies cannot bring: each in eight pictures, in its own folders."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from melies import checkpoint
from melies.errors import UserError
from melies.nn.unet import UNetConfig
from melies.recipes import celeba_hq
from melies.recipes.job import Job
from melies.training.loop import TrainingConfig

TRAINING = TrainingConfig(
    num_samples=16, batch_size=4, warmup=0, log_every=4, preview_every=0, precision="fp32"
)


def write(path: Path, level: int, size: tuple[int, int] = (20, 20)) -> None:
    """A colour picture of some noise around a level."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(level).integers(0, 40, (*size, 3))
    Image.fromarray((noise + level).astype(np.uint8)).save(path)


def quietly(**fields) -> Job:
    return Job(say=lambda line: None, **fields)


class TestCelebaHQ:
    config = replace(
        celeba_hq.CONFIG,
        network=UNetConfig(channels=3, size=8, widths=(8, 16), blocks=1, attention=(4,), head_dim=8, dim=16),
        training=TRAINING,
    )

    @pytest.mark.parametrize("split", ["", "train"])
    def test_two_folders_are_two_classes(self, tmp_path, split):
        for i in range(8):
            write(tmp_path / "set" / split / ("female" if i % 2 else "male") / f"{i}.jpg", 20 * i)
        celeba_hq.run(self.config, quietly(data=tmp_path / "set", out=tmp_path / "run"))
        model = checkpoint.load(tmp_path / "run").model
        assert model.config.classes == ("female", "male")
        assert model.shape == (3, 8, 8)

    def test_pictures_side_by_side_have_none(self, tmp_path):
        for i in range(8):
            write(tmp_path / "set" / "CelebA-HQ-img" / f"{i}.jpg", 20 * i)
        celeba_hq.run(self.config, quietly(data=tmp_path / "set", out=tmp_path / "run"))
        assert checkpoint.load(tmp_path / "run").model.config.classes == ()

    def test_it_is_yours_to_bring(self, tmp_path):
        with pytest.raises(UserError, match="CelebA-HQ is not something that melies brings"):
            celeba_hq.run(self.config, quietly(out=tmp_path / "run"))
