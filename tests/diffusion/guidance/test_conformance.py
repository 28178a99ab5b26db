"""The conformance kit on functions whose convention is known, on our ways of guiding, and on diffusers'."""

import sys
from types import SimpleNamespace

import pytest
import torch

from melies.diffusion import METHODS, NEEDS
from melies.diffusion.guidance.conformance import HEADER, Answer, Target, check, row, row_of_failure
from melies.diffusion.guidance.conformance_targets import blur_is_inverted, targets_of
from melies.errors import UserError
from melies.optional import import_from


def by_scale(conditional, null, scale):
    return null + scale * (conditional - null)


def by_weight(conditional, null, scale):
    return (1 + scale) * conditional - scale * null


def three_channels(conditional, null, scale):
    guided = by_scale(conditional, null, scale)
    return torch.cat([guided[:, :3], conditional[:, 3:]], 1)


def gated(conditional, null, scale):
    return conditional if scale <= 1 else null + (scale + 1) * (conditional - null)


def rising(conditional, null, scale, *, step, num_steps):
    return by_weight(conditional, null, scale * 2 * step / (num_steps - 1))


def falling(conditional, null, scale, *, step, num_steps):
    return by_weight(conditional, null, scale * 2 * (1 - step / num_steps))


def orthogonal(conditional, null, scale):
    change = conditional - null
    share = (change * conditional).flatten(1).sum(1) / conditional.square().flatten(1).sum(1)
    return conditional + (scale - 1) * (change - share.view(-1, 1, 1, 1) * conditional)


def broken(conditional, null, scale):
    raise RuntimeError("no such thing")


def misshapen(conditional, null, scale):
    return conditional[:1]


NUMBER = 3


def found(name):
    (target,) = targets_of(name if ":" in name or name in METHODS else f"{__name__}:{name}")
    return check(target)


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    """This file as a module of the name that targets give it, whatever the runner calls it."""
    monkeypatch.setitem(sys.modules, __name__, SimpleNamespace(**globals()))


# Functions


def test_convention_is_found_by_the_scale_at_which_guidance_is_off():
    plain, weighted = found("by_scale"), found("by_weight")
    assert (plain.form, plain.off) == ("u + s·(c − u)", 1.0)
    assert (weighted.form, weighted.off) == ("c + w·(c − u)", 0.0)
    for one in (plain, weighted):
        assert (one.jump < 1e-5, one.parallel, one.course, one.space) == (True, 1.0, "constant", "any")
        assert (one.channels, one.evaluations, one.carries) == ((4, 4), (None, None, None), False)
        assert one.strengths is None
        assert one.remarks == ()


def test_channels_that_are_left_out():
    one = found("three_channels")
    assert one.channels == (3, 4)
    assert one.remarks == ("leaves 1 channels unguided",)


def test_a_switch_that_jumps():
    one = found("gated")
    assert one.off == 1.0
    assert one.jump == pytest.approx(1.0, abs=1e-5)
    assert one.remarks == ("jumps by 100% of c − u where it is switched off",)


def test_direction_of_a_schedule():
    assert found("rising").course == "rising"
    assert found("falling").course == "falling"


def test_parallel_part_and_space():
    one = found("orthogonal")
    assert one.parallel == pytest.approx(0, abs=1e-6)
    assert one.space == "as given"
    assert one.form == "u + s·(c − u)"


def test_state_from_step_to_step():
    def begin(scale):
        seen = []

        def session(step, parts):
            seen.append(parts["conditional"] - parts["null"])
            return Answer(parts["null"] + scale * sum(seen), 2)

        return session

    one = check(Target(name="momentum", begin=begin))
    assert one.carries
    assert one.remarks == ("a step depends on those before",)


# Ours


@pytest.mark.parametrize("name", [name for name in METHODS if NEEDS.get(name) != "classifier"])
def test_ours_are_seamless_in_the_canonical_convention(name):
    one = found(name)
    assert one.jump < 1e-5
    assert not one.carries
    if name != "plus-plus":  # λ is another scale at every step
        assert one.form == "u + s·(c − u)"
        assert one.course == "constant"
    third = name in ("perturbed", "smoothed")
    assert one.evaluations[:2] == (2 + third, (2 if name == "plus-plus" else 1) + third)
    assert one.space in ("any", "x0", "velocity")
    assert one.strengths == (pytest.approx((1.0, 1.0)) if third else None)
    assert len(row(one)) == len(HEADER)


def test_parts_along_the_condition_that_ours_keep():
    assert found("projected:0.3").parallel == pytest.approx(0.3, abs=1e-4)


def test_a_class_of_guidance_is_named_by_its_place():
    one = found("melies.diffusion.guidance.projected:Projected")
    assert (one.space, one.form, one.parallel) == ("x0", "u + s·(c − u)", pytest.approx(0, abs=1e-4))


# Guiders of diffusers


@pytest.mark.parity
def test_guiders_of_diffusers():
    plain = found("diffusers:ClassifierFreeGuidance")
    assert (plain.form, plain.evaluations, plain.space) == ("u + s·(c − u)", (2, 1, 2), "any")
    both = {target.name: target for target in targets_of("diffusers")}
    original = check(both["diffusers:ClassifierFreeGuidance, original formulation"])
    assert (original.form, original.evaluations) == ("c + w·(c − u)", (2, 2, 1))
    projected = check(both["diffusers:AdaptiveProjectedGuidance"])
    assert projected.jump > 0.1  # added to u, of which the part along c is then lacking
    assert projected.parallel == pytest.approx(-0.5, abs=1e-3)
    assert check(both["diffusers:AdaptiveProjectedGuidance, original formulation"]).jump < 1e-5
    perturbed = check(both["diffusers:PerturbedAttentionGuidance"])
    assert perturbed.strengths == pytest.approx((2.8, 1.8))
    assert perturbed.evaluations == (3, 2, 3)
    zero = check(both["diffusers:ClassifierFreeZeroStarGuidance"])
    assert (zero.begins, zero.parallel) == (False, pytest.approx(0, abs=1e-4))


@pytest.mark.parity
def test_a_guider_that_lacks_something_says_so():
    (target,) = targets_of("diffusers:FrequencyDecoupledGuidance")
    try:
        import kornia  # noqa: F401
    except ImportError:
        with pytest.raises(UserError, match=r"cannot be built.*kornia") as caught:
            check(target)
        assert row_of_failure("x", caught.value)[-1].startswith("cannot be built")
    else:
        assert check(target).off == 1.0


class Right:
    """A blur whose limit is the right way round."""

    def __init__(self, sigma, limit):
        self.infinite = sigma > limit

    def post_forward(self, module, tokens):
        return tokens.mean(1, keepdim=True).expand_as(tokens) if self.infinite else tokens * 0.9


@pytest.mark.parity
def test_the_blur_of_smoothed_energy():
    assert not blur_is_inverted(Right)
    hook = import_from("diffusers.hooks.smoothed_energy_guidance_utils:SmoothedEnergyGuidanceHook")
    one = found("diffusers:SmoothedEnergyGuidance")
    assert blur_is_inverted(hook) == any("a blur of one token" in remark for remark in one.remarks)


# Bad input


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("projcted", "did you mean 'projected'"),
        ("no.such.module:thing", "no.such.module:thing: there is nothing to import there .*PYTHONPATH"),
        (f"{__name__}:nothing", "there is nothing to import there"),
        (f"{__name__}:NUMBER", "int is nothing that can be called"),
        (f"{__name__}:broken", "RuntimeError: no such thing"),
        (f"{__name__}:misshapen", r"returned .*1, 4, 8, 8.* for predictions of \(2, 4, 8, 8\)"),
        ("classifier", "led by a classifier"),
        ("frequency:x", "is not a number"),
    ],
)
def test_bad_input(name, said):
    with pytest.raises(UserError, match=said):
        check(targets_of(name)[0])
