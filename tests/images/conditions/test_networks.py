"""Kinds with networks: loading, refusing and the answer, with made-up weights; parity where installed."""

import importlib
import sys
from importlib.util import find_spec
from types import ModuleType

import pytest
import torch

from melies.errors import UserError
from melies.images.conditions import extract, open_extractor
from melies.images.conditions.mask import class_mask
from melies.images.conditions.palette import ADE20K
from melies.images.conditions.segmentation import coloured
from melies.nn.hed import hed_edges

HED_BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))


@pytest.fixture
def annotators(monkeypatch):
    """Modules of `controlnet_aux` without what its first line imports."""
    spec = find_spec("controlnet_aux")
    if spec is None:
        pytest.skip("controlnet_aux is not installed; see benchmarks/requirements.txt")
    package = ModuleType("controlnet_aux")
    package.__path__ = list(spec.submodule_search_locations)
    monkeypatch.setitem(sys.modules, "controlnet_aux", package)
    return lambda name: importlib.import_module(f"controlnet_aux.{name}")


@pytest.fixture(scope="module")
def photograph() -> torch.Tensor:
    """Shapes and noise, of the size at which the annotators look, so that they do not resize."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 16, 16, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (512, 512), mode="bicubic").clamp(0, 1) * 255
    smooth[:, :, 100:300, 200:230] = 0
    return smooth.round().to(torch.uint8)


@pytest.fixture(scope="module")
def hed_weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    weights, before = {"norm": torch.full((1, 3, 1, 1), 120.0)}, 3
    for block, (width, count) in enumerate(HED_BLOCKS, 1):
        for layer in range(count):
            weights[f"block{block}.convs.{layer}.weight"] = torch.randn(width, before, 3, 3) / before**0.5 / 3
            weights[f"block{block}.convs.{layer}.bias"] = torch.zeros(width)
            before = width
        weights[f"block{block}.projection.weight"] = torch.randn(1, width, 1, 1) / width / 20
        weights[f"block{block}.projection.bias"] = torch.zeros(1)
    return weights


def test_soft_edges_of_a_network_are_its_probabilities_in_levels(tmp_path, hed_weights):
    path = tmp_path / "ControlNetHED.pth"
    torch.save(hed_weights, path)
    pixels = torch.randint(0, 256, (2, 3, 24, 40), dtype=torch.uint8)
    found = extract("hed", pixels, weights=path)
    expected = (hed_edges(hed_weights, pixels.float()) * 255).to(torch.uint8)
    assert found.unique().numel() > 2
    assert (found.int() - expected.int()).abs().max() <= 1


@pytest.mark.parametrize("kind", ["hed", "pidinet"])
def test_weights_of_another_network_are_refused_when_they_are_opened(tmp_path, kind):
    path = tmp_path / "other.pth"
    torch.save({"conv.weight": torch.zeros(3)}, path)
    with pytest.raises(UserError, match="those of another network"):
        open_extractor(kind, weights=path)


def test_classes_have_the_colours_of_ade20k():
    assert len(ADE20K) == 150
    assert ADE20K[:3] == ((120, 120, 120), (180, 120, 120), (6, 230, 230))  # wall, building, sky
    classes = torch.tensor([[[0, 2], [149, 0]]])
    found = coloured(classes)
    assert found[0, :, 0, 1].tolist() == [6, 230, 230]
    assert found[0, :, 1, 0].tolist() == list(ADE20K[149])
    assert class_mask(classes, 2).tolist() == [[[[0, 255], [0, 0]]]]
    with pytest.raises(UserError, match="not all in 0 to 149"):
        coloured(classes + 1)


def tiny_segmentation(folder, classes: int):
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    torch.manual_seed(0)
    config = SegformerConfig(
        num_labels=classes,
        hidden_sizes=[8, 8, 8, 8],
        depths=[1, 1, 1, 1],
        num_attention_heads=[1, 1, 1, 1],
        decoder_hidden_size=8,
    )
    SegformerForSemanticSegmentation(config).save_pretrained(folder)
    return folder


def test_a_segmentation_model_of_transformers_is_loaded(tmp_path):
    pixels = torch.randint(0, 256, (1, 3, 40, 64), dtype=torch.uint8)
    folder = tiny_segmentation(tmp_path / "ade", 150)
    found = extract("segmentation", pixels, weights=folder)
    assert found.shape == (1, 3, 40, 64)
    assert {tuple(c) for c in found[0].flatten(1).T.tolist()} <= set(ADE20K)
    with pytest.raises(UserError, match="a model of 19 classes"):
        open_extractor("segmentation", weights=tiny_segmentation(tmp_path / "streets", 19))


@pytest.mark.parity
def test_edges_lines_and_colours_are_those_of_controlnet_aux(annotators, photograph):
    picture = photograph[0].permute(1, 2, 0).contiguous().numpy()
    canny = annotators("canny").CannyDetector()(picture)
    torch.testing.assert_close(extract("canny", photograph)[0, 0], torch.from_numpy(canny[..., 0]))
    lineart = annotators("lineart_standard").LineartStandardDetector()(picture, output_type="np")
    ours = extract("lineart", photograph)[0, 0].int()
    assert ours.max() > 200
    assert (ours - torch.from_numpy(lineart[..., 0].copy()).int()).abs().max() <= 1
    assert [list(colour) for colour in ADE20K] == annotators("util").ade_palette()
