"""Control beside a denoiser: the base where it is off, sums where it is on, any guidance around it."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from melies.diffusion import METHODS, NEEDS, SCHEDULES
from melies.diffusion.adapt import Adapted, FlowClock
from melies.diffusion.control import Control, Controlled, guess_scales, steps_interval
from melies.diffusion.guidance.autoguidance import Autoguidance
from melies.diffusion.guidance.methods import guidance_of
from melies.diffusion.noise import karras
from melies.diffusion.precondition import Preconditioned
from melies.diffusion.sample import heun
from melies.errors import UserError
from melies.interfaces import Branch, Denoiser, Guidance
from melies.nn.control import ControlConfig, ControlNetwork, build_control
from melies.nn.transformer import Transformer, TransformerConfig

NETWORK = TransformerConfig(channels=2, size=4, dim=16, depth=2, head_dim=8, num_classes=3)
CONFIG = ControlConfig(network=NETWORK, num_kinds=2, depth=1, reduction=2, hint_width=4)


def made(*, fresh: bool = False) -> tuple[Preconditioned, ControlNetwork]:
    network, branch = Transformer(NETWORK), build_control(CONFIG)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    branch.copy_from(network)  # type: ignore[arg-type]
    if not fresh:
        for parameter in branch.join.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
        for parameter in branch.hint[-1].parameters():
            torch.nn.init.normal_(parameter, std=0.5)
    return Preconditioned(network, sigma_data=1.0).eval().requires_grad_(False), branch.requires_grad_(False)


def condition(b: int = 2, k: int = 1) -> dict[str, Tensor]:
    return {
        "class": torch.arange(b) % 3,
        "hint": torch.rand(b, k, 3, 8, 8),
        "hint_kind": torch.arange(k).expand(b, k) % 2,
    }


X, SIGMA = torch.randn(2, 2, 4, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0.3, 5.0])


def test_a_fresh_branch_leaves_a_whole_run_as_it_is_to_the_last_bit():
    base, branch = made(fresh=True)
    controlled = Controlled(base, [Control(branch=branch)])
    assert isinstance(controlled, Denoiser)
    told, sigmas = condition(), karras(5, 0.01, 80.0)

    def drawn(denoiser: Denoiser) -> Tensor:
        branches = {
            "conditional": Branch(denoiser, told),
            "null": Branch(denoiser, {**told, "present.class": torch.zeros(2, dtype=torch.bool)}),
        }
        return heun(guidance_of("plain", 3.0).bind(branches, sigmas), 80 * X, sigmas)

    assert torch.equal(drawn(controlled), drawn(base))


def test_residuals_go_below_the_preconditioning_of_any_coordinate():
    base, branch = made()
    told = condition()
    flow = Adapted(base.network, predicts="velocity", clock=FlowClock())
    for denoiser in (base, flow):
        inside = {}
        base.network.register_forward_hook(
            lambda _, given, named, __, inside=inside: inside.update(x=given[0], c=given[1], **named),
            with_kwargs=True,
        )
        Controlled(denoiser, [Control(branch=branch)])(X, SIGMA, told)
        expected = branch(
            inside["x"],
            inside["c"],
            {**told, "hint": told["hint"][:, 0], "hint_kind": told["hint_kind"][:, 0]},
        )
        assert all(torch.equal(a, b) for a, b in zip(inside["residuals"], expected, strict=True))


def test_several_branches_are_summed_with_their_scales():
    """Residuals of two branches at scales 0.5 and 2, by hand."""
    base, first = made()
    second = made()[1]
    told = condition(k=2)
    seen = {}
    base.network.register_forward_hook(lambda _, __, named, ___: seen.update(named), with_kwargs=True)
    controls = [Control(branch=first, scale=0.5), Control(branch=second, scale=(2.0, 0.0))]
    Controlled(base, controls)(X, SIGMA, told)
    scaled = (1 + SIGMA.square()).rsqrt().view(-1, 1, 1, 1) * X
    one, two = (
        branch(
            scaled,
            SIGMA.log() / 4,
            {**told, "hint": told["hint"][:, i], "hint_kind": told["hint_kind"][:, i]},
        )
        for i, branch in enumerate((first, second))
    )
    torch.testing.assert_close(seen["residuals"][0], 0.5 * one[0] + 2 * two[0])
    torch.testing.assert_close(seen["residuals"][1], 0.5 * one[1])


@pytest.mark.parametrize(
    ("control", "acts"),
    [
        ({"interval": (0.1, 1.0)}, [True, False]),
        ({"interval": (5.0, 80.0)}, [False, False]),
        ({"interval": (0.3, 5.0)}, [False, True]),
        ({"scale": 0.0}, [False, False]),
    ],
    ids=str,
)
def test_where_it_is_off_it_is_the_base(control, acts):
    """The interval is open below and closed above: at σ = 0.3 and 5."""
    base, branch = made()
    told = condition()
    found = Controlled(base, [Control(branch=branch, **control)])(X, SIGMA, told)
    plain = base(X, SIGMA, told)
    far = (found - plain).flatten(1).abs().amax(1)
    assert [bool(distance > 1e-4) for distance in far] == acts
    assert all(distance < 1e-6 for distance, on in zip(far, acts, strict=True) if not on)


def test_rows_without_a_hint_are_the_base():
    """Guess mode: the null is left alone."""
    base, branch = made()
    told = condition()
    controlled = Controlled(base, [Control(branch=branch)])
    found = controlled(X, SIGMA, {**told, "present.hint": torch.tensor([True, False])})
    whole, plain = controlled(X, SIGMA, told), base(X, SIGMA, told)
    torch.testing.assert_close(found[0], whole[0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found[1], plain[1], rtol=1e-5, atol=1e-6)
    assert (found[0] - plain[0]).abs().max() > 1e-4


def denoised(denoiser: Denoiser, guidance: Guidance, weak: Denoiser) -> Tensor:
    """Two evaluations of a guided run, at high and at low noise."""
    told = condition()
    branches = {
        "conditional": Branch(denoiser, told),
        "null": Branch(denoiser, {**told, "present.class": torch.zeros(2, dtype=torch.bool)}),
        "weak": Branch(weak, told),
    }
    if not isinstance(guidance, Autoguidance):  # which has no null that it could replace
        branches["negative"] = Branch(denoiser, {**told, "class": told["class"] + 1})
    denoise = guidance.bind(branches, karras(4, 0.05, 20.0))
    return denoise(20 * X, torch.full((2,), 20.0)) + denoise(X, torch.full((2,), 0.4))


WAYS = [
    *(
        guidance_of(
            f"{name}:2" if name in ("frequency", "windowed") else name, 0.5 if name == "plus-plus" else 3.0
        )
        for name in METHODS
        if NEEDS.get(name) != "classifier"
    ),
    *(guidance_of("plain", 3.0, schedule=name) for name in SCHEDULES),
]


@pytest.mark.parametrize("guidance", WAYS, ids=lambda way: type(way).__name__)
def test_every_guidance_and_schedule_acts_around_it(guidance):
    """Guidance sees a denoiser: a fresh branch changes no bit of it, and a stirred one is followed."""
    for fresh in (True, False):
        base, branch = made(fresh=fresh)
        weak = Controlled(base, [Control(branch=branch, scale=0.0)])
        torch.manual_seed(1)
        alone = denoised(base, guidance, weak)
        torch.manual_seed(1)
        together = denoised(Controlled(base, [Control(branch=branch)]), guidance, weak)
        assert torch.equal(alone, together) == fresh


def test_guess_scales_are_those_of_the_paper_for_thirteen_residuals():
    assert guess_scales(13, 0.8) == pytest.approx([0.8 * 0.825 ** (12 - i) for i in range(13)])
    assert guess_scales(1, 0.8) == (0.8,)


@given(count=st.integers(2, 40), scale=st.floats(0.01, 10))
def test_guess_scales_rise_from_a_tenth_to_the_whole(count, scale):
    scales = guess_scales(count, scale)
    assert len(scales) == count
    assert scales[0] == pytest.approx(scale * 0.825**12)
    assert scales[-1] == scale
    assert all(a < b for a, b in itertools.pairwise(scales))


@given(count=st.integers(1, 60), ends=st.tuples(st.integers(0, 120), st.integers(0, 120)))
def test_shares_of_a_run_are_the_steps_that_lie_in_them(count, ends):
    """As in diffusers: step i acts unless i/n < start or (i + 1)/n > end; here in whole numbers of 1/120."""
    first, last = sorted(ends)
    start, end = first / 120, last / 120
    sigmas = karras(count, 0.01, 80.0)
    wanted = [120 * i >= first * count and 120 * (i + 1) <= last * count for i in range(count)]
    if start == end or not any(wanted):
        with pytest.raises(UserError):
            steps_interval(sigmas, start, end)
        return
    low, high = steps_interval(sigmas, start, end)
    assert [low < float(sigma) <= high for sigma in sigmas[:-1]] == wanted
    assert (high == math.inf) == wanted[0]


def test_what_does_not_go_together_is_refused():
    base, branch = made()
    with pytest.raises(ValueError, match="2 control branches"):
        Controlled(base, [Control(branch=branch)] * 2)(X, SIGMA, condition(k=1))
    with pytest.raises(ValueError, match="3 control scales for 2 residuals"):
        Controlled(base, [Control(branch=branch, scale=(1.0, 1.0, 1.0))])(X, SIGMA, condition())
    with pytest.raises(ValueError, match="at least one"):
        Controlled(base, [])
    with pytest.raises(UserError, match="no interval"):
        Control(branch=branch, interval=(2.0, 1.0))
    with pytest.raises(UserError, match="control scale"):
        Control(branch=branch, scale=-1.0)
