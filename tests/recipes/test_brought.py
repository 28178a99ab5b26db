"""Sets that everybody knows and melies cannot bring: each in eight pictures, in its own folders."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from melies import checkpoint
from melies.autoencoders.network import HalvesConfig
from melies.autoencoders.quantize import CodebookConfig
from melies.autoencoders.vae import VAEConfig
from melies.autoencoders.vqvae import VQVAEConfig
from melies.errors import UserError
from melies.nn.unet import UNetConfig
from melies.recipes import celeba, celeba_hq, imagenet
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

    def test_an_empty_folder_is_refused(self, tmp_path):
        with pytest.raises(UserError, match="no pictures"):
            celeba_hq.run(self.config, quietly(data=tmp_path, out=tmp_path / "run"))


class TestCelebA:
    config = replace(
        celeba.CONFIG,
        model=VAEConfig(network=HalvesConfig(size=8, channels=3, latent_dim=4, widths=(8, 16), hidden=16)),
        training=TRAINING,
    )

    @pytest.fixture
    def folder(self, tmp_path):
        """Eight faces and their tables; the last two are for testing."""
        root, names = tmp_path / "set", [f"{i + 1:06d}.jpg" for i in range(8)]
        for i, name in enumerate(names):
            write(root / "img_align_celeba" / name, 20 * i, (218, 178))
        rows = [f"{name} {1 - 2 * (i % 2)} -1" for i, name in enumerate(names)]
        (root / "list_attr_celeba.txt").write_text("\n".join(["8", "Smiling Male", *rows]))
        parts = [f"{name} {0 if i < 6 else 2}" for i, name in enumerate(names)]
        (root / "list_eval_partition.txt").write_text("\n".join(parts))
        return root

    @pytest.mark.parametrize("conditional", [False, True])
    def test_faces_are_learned_with_an_attribute_or_without(self, folder, tmp_path, conditional):
        config = replace(self.config, conditional=conditional)
        celeba.run(config, quietly(data=folder, out=tmp_path / "run"))
        loaded = checkpoint.load(tmp_path / "run")
        assert loaded.provenance["num_pictures"] == 6
        assert loaded.model.classes == (("not-smiling", "smiling") if conditional else ())

    def test_another_layout_is_refused(self, folder, tmp_path):
        job = quietly(data=folder, out=tmp_path / "run")
        with pytest.raises(UserError, match="the same 'Male'"):
            celeba.run(replace(self.config, conditional=True, attribute="Male"), job)
        with pytest.raises(UserError, match="did you mean 'Male'"):
            celeba.run(replace(self.config, attribute="male"), job)
        (folder / "list_attr_celeba.txt").unlink()
        with pytest.raises(UserError, match=r"lacks list_attr_celeba\.txt"):
            celeba.run(self.config, job)
        assert not (tmp_path / "run").exists()


class TestImageNet:
    config = replace(
        imagenet.CONFIG,
        model=VQVAEConfig(
            size=8, channels=3, widths=(8, 16), decoder_blocks=1, quantizer=CodebookConfig(num_codes=8, dim=4)
        ),
        training=TRAINING,
    )

    @pytest.fixture
    def folder(self, tmp_path):
        root = tmp_path / "ILSVRC" / "Data" / "CLS-LOC"
        for i in range(8):
            number = "n01440764" if i % 2 else "n02012849"
            write(root / "train" / number / f"{number}_{i}.JPEG", 20 * i, (30 + i, 40))
        write(root / "val" / "ILSVRC2012_val_00000001.JPEG", 0)
        return tmp_path / "ILSVRC"

    @pytest.mark.parametrize(("limit", "num"), [(100, 8), (4, 4)])
    def test_the_training_part_is_learned_up_to_a_limit(self, folder, tmp_path, limit, num):
        imagenet.run(replace(self.config, limit=limit), quietly(data=folder, out=tmp_path / "run"))
        loaded = checkpoint.load(tmp_path / "run")
        assert loaded.model.shape == (3, 8, 8)
        assert loaded.provenance["num_pictures"] == num

    def test_another_layout_is_refused(self, tmp_path):
        write(tmp_path / "set" / "train" / "cats" / "0.jpg", 40)
        with pytest.raises(UserError, match="none of the pictures that are needed"):
            imagenet.run(self.config, quietly(data=tmp_path / "set", out=tmp_path / "run"))
        with pytest.raises(UserError, match="limit"):
            replace(self.config, limit=0)
