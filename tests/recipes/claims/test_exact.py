"""Exact checks find what is so, and would find what is not."""

import math

import pytest
import torch

from melies.nn.control import build_control
from melies.recipes.claims import exact
from melies.recipes.claims.claim import Verdict


@pytest.mark.parametrize(
    "check",
    [
        exact.shortcut,
        exact.pure_noise,
        exact.reverse_is_gaussian,
        exact.two_forms_of_the_bound,
        exact.untrained_branch,
        exact.branch_end_to_end,
    ],
)
def test_what_is_so_holds(check):
    assert check({}).verdict == Verdict.HOLDS


def test_the_root_as_it_is_printed_does_not():
    found = exact.shortcut_as_printed({})
    assert found.verdict == Verdict.FAILS
    assert "over ᾱ alone" in found.evidence


def test_a_branch_that_changes_the_base_or_is_cut_off_from_the_loss_would_be_found(monkeypatch):
    def spoiled(config):
        branch = build_control(config)
        branch.kind.requires_grad_(False)
        torch.nn.init.ones_(branch.join[0].bias)
        return branch

    monkeypatch.setattr(exact, "build_control", spoiled)
    assert exact.untrained_branch({}).verdict == Verdict.FAILS
    cut_off = exact.branch_end_to_end({})
    assert cut_off.verdict == Verdict.FAILS
    assert "not kind" in cut_off.evidence


def test_a_wrong_formula_would_be_found(monkeypatch):
    monkeypatch.setattr(exact, "alpha_bars", lambda betas: (1 - betas).cumprod(0) ** 1.001)
    assert exact.shortcut({}).verdict == Verdict.FAILS
    monkeypatch.setattr(
        exact, "standard_kl", lambda mean, logvar: 0.5 * (mean.square() + logvar.exp() - logvar)
    )
    assert exact.two_forms_of_the_bound({}).verdict == Verdict.HOLDS  # the same constant on both sides
    assert exact.pure_noise({}).verdict == Verdict.FAILS
    monkeypatch.setattr(exact, "standard_kl", lambda mean, logvar: mean.square() + logvar.exp() - 1 - logvar)
    assert exact.two_forms_of_the_bound({}).verdict == Verdict.FAILS


def test_a_narrow_bound_is_the_evidence_at_the_true_posterior():
    mean = exact._W * exact._X / (exact._W**2 + exact._S**2)
    var = exact._S**2 / (exact._W**2 + exact._S**2)
    evidence = -0.5 * (
        exact._X**2 / (exact._W**2 + exact._S**2) + math.log(2 * math.pi * (exact._W**2 + exact._S**2))
    )
    grid = torch.stack(exact._posteriors(), 1)
    nearest = (grid - torch.tensor([mean, math.log(var)], dtype=torch.float64)).square().sum(1).argmin()
    bound = exact.bound_as_reconstruction()
    assert float(bound.min()) >= -evidence
    assert float(bound[nearest]) == pytest.approx(-evidence, abs=0.2)


def test_without_noise_a_step_back_has_two_peaks_and_with_little_one():
    assert exact.reverse_divergence(0.9) > 0.2
    assert exact.reverse_divergence(0.002) < 1e-5
