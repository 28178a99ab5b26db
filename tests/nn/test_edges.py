"""Networks of edges: their arithmetic by hand, and theirs beside the reference where it is installed."""

import importlib
import sys
from importlib.util import find_spec
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F

from melies.errors import UserError
from melies.nn.hed import hed_edges
from melies.nn.pidinet import angular, central, pidinet_edges, radial


@pytest.fixture
def annotators(monkeypatch):
    """`controlnet_aux` without what its first line imports: torchvision, timm and scikit-image."""
    spec = find_spec("controlnet_aux")
    if spec is None:
        pytest.skip("controlnet_aux is not installed; see benchmarks/requirements.txt")
    package = ModuleType("controlnet_aux")
    package.__path__ = list(spec.submodule_search_locations)
    monkeypatch.setitem(sys.modules, "controlnet_aux", package)
    return lambda name: importlib.import_module(f"controlnet_aux.{name}")


def made_up(shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(shape, generator=generator) / max(1, torch.Size(shape[1:]).numel()) ** 0.5
        for name, shape in shapes.items()
    }


def hed_shapes() -> dict[str, tuple[int, ...]]:
    shapes, before = {"norm": (1, 3, 1, 1)}, 3
    for block, (width, count) in enumerate([(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)], 1):
        for layer in range(count):
            shapes[f"block{block}.convs.{layer}.weight"] = (width, before, 3, 3)
            shapes[f"block{block}.convs.{layer}.bias"] = (width,)
            before = width
        shapes[f"block{block}.projection.weight"] = (1, width, 1, 1)
        shapes[f"block{block}.projection.bias"] = (1,)
    return shapes


def pidinet_shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"init_block.weight": (60, 3, 3, 3)}
    before = 60
    for block, (width, layers) in enumerate([(60, 3), (120, 4), (240, 4), (240, 4)], 1):
        for layer in range(1, layers + 1):
            name = f"block{block}_{layer}"
            shapes[f"{name}.conv1.weight"] = (before, 1, 3, 3)
            shapes[f"{name}.conv2.weight"] = (width, before, 1, 1)
            if block > 1 and layer == 1:
                shapes |= {
                    f"{name}.shortcut.weight": (width, before, 1, 1),
                    f"{name}.shortcut.bias": (width,),
                }
            before = width
        i = block - 1
        shapes |= {f"dilations.{i}.conv1.weight": (24, width, 1, 1), f"dilations.{i}.conv1.bias": (24,)}
        shapes |= {f"dilations.{i}.conv2_{d}.weight": (24, 24, 3, 3) for d in range(1, 5)}
        shapes |= {f"attentions.{i}.conv1.weight": (4, 24, 1, 1), f"attentions.{i}.conv1.bias": (4,)}
        shapes |= {f"attentions.{i}.conv2.weight": (1, 4, 3, 3)}
        shapes |= {f"conv_reduces.{i}.conv.weight": (1, 24, 1, 1), f"conv_reduces.{i}.conv.bias": (1,)}
    return shapes | {"classifier.weight": (1, 4, 1, 1), "classifier.bias": (1,)}


NETWORKS = {"hed": (hed_edges, hed_shapes), "pidinet": (pidinet_edges, pidinet_shapes)}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_reads_pictures_of_any_size_and_needs_every_weight(name):
    edges, shapes = NETWORKS[name]
    weights = made_up(shapes())
    x = torch.rand(1, 3, 18, 25)
    found = edges(weights, x)
    assert found.shape == (1, 1, 18, 25)
    assert 0 <= float(found.min()) < float(found.max()) <= 1
    for lacking in list(weights)[:: len(weights) // 8]:
        less = {key: value for key, value in weights.items() if key != lacking}
        with pytest.raises(UserError, match="those of another network"):
            edges(less, x)


def test_kernels_of_differences_see_no_constant():
    torch.manual_seed(0)
    kernel = torch.randn(4, 1, 3, 3, dtype=torch.float64)
    for differences in (central, angular, radial):
        total = differences(kernel).sum((2, 3))
        torch.testing.assert_close(total, torch.zeros_like(total), atol=1e-12, rtol=0)


def test_central_differences_are_those_of_the_paper():
    torch.manual_seed(0)
    kernel, x = torch.randn(1, 1, 3, 3, dtype=torch.float64), torch.randn(1, 1, 3, 3, dtype=torch.float64)
    expected = (kernel * (x - x[..., 1:2, 1:2])).sum()
    torch.testing.assert_close(F.conv2d(x, central(kernel)).squeeze(), expected)


@pytest.mark.parity
def test_hed_is_that_of_controlnet_aux(annotators):
    theirs = annotators("hed").ControlNetHED_Apache2().eval()
    assert {name: tuple(value.shape) for name, value in theirs.state_dict().items()} == hed_shapes()
    weights = made_up(hed_shapes())
    theirs.load_state_dict(weights)
    x = torch.randint(0, 256, (1, 3, 32, 48)).float()
    with torch.no_grad():
        sides = [F.interpolate(e, x.shape[2:], mode="bilinear", align_corners=False) for e in theirs(x)]
    torch.testing.assert_close(hed_edges(weights, x), torch.sigmoid(sum(sides) / 5), rtol=1e-4, atol=1e-5)


@pytest.mark.parity
def test_pidinet_is_that_of_controlnet_aux(annotators):
    theirs = annotators("pidi.model").pidinet().eval()
    assert {name: tuple(value.shape) for name, value in theirs.state_dict().items()} == pidinet_shapes()
    weights = made_up(pidinet_shapes())
    theirs.load_state_dict(weights)
    x = torch.rand(1, 3, 32, 48)
    with torch.no_grad():
        expected = theirs(x)[-1]
    assert expected.std() > 1e-3
    torch.testing.assert_close(pidinet_edges(weights, x), expected, rtol=1e-4, atol=1e-5)
