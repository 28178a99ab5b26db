"""The prior over codes: what it may look at, what it draws, and how well it learns a chain it can know."""

import itertools
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from melies import checkpoint
from melies.autoencoders.prior import CodePrior, CodePriorConfig, code_nats, draw_code
from melies.errors import UserError
from melies.interfaces import Objective
from melies.rng import generator_for, noise_for
from melies.training.loop import TrainingConfig, train


def tiny(**fields) -> CodePrior:
    """A prior with weights far from their start, so that everything it sees matters to it."""
    options = {"num_codes": 6, "cells": 3, "classes": ("a", "b"), "dim": 16, "head_dim": 8, "depth": 2}
    prior = CodePrior(CodePriorConfig(**{**options, "dropout": 0.0, **fields})).eval()
    for parameter in prior.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.5)
    return prior


def codes_and_labels(num: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randint(6, (num, 3, 3)), torch.randint(2, (num,))


@pytest.mark.parametrize("place", range(9))
def test_a_later_code_never_changes_an_earlier_logit(place):
    prior = tiny().double()
    codes, labels = codes_and_labels()
    other = codes.clone()
    other.view(2, 9)[:, place] = (other.view(2, 9)[:, place] + 1) % 6
    a, b = prior(codes, labels), prior(other, labels)
    assert torch.equal(a[:, : place + 1], b[:, : place + 1])
    if place < 8:
        assert (a[:, place + 1 :] != b[:, place + 1 :]).any(-1).all()


def test_the_class_matters_to_every_logit():
    prior = tiny()
    codes, _ = codes_and_labels()
    a, b = (prior(codes, torch.full((2,), label)) for label in (0, 1))
    assert (a != b).any(-1).all()


def test_the_probabilities_of_all_grids_sum_to_one():
    prior = tiny(num_codes=2, cells=2, classes=()).double()
    grids = torch.tensor(list(itertools.product(range(2), repeat=4))).view(16, 2, 2)
    with torch.no_grad():
        total = (-code_nats(prior(grids), grids).double()).exp().sum()
    assert total.item() == pytest.approx(1.0, abs=1e-6)


def test_nats_are_those_of_the_chain_rule():
    logits = torch.randn(2, 4, 3)
    codes = torch.randint(3, (2, 2, 2))
    expected = [
        -sum(logits[i, j].log_softmax(0)[codes[i].flatten()[j]].item() for j in range(4)) for i in range(2)
    ]
    assert code_nats(logits, codes).tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("options", [{}, {"temperature": 0.7, "top_k": 3}, {"top_p": 0.8}])
def test_drawing_with_the_cache_is_drawing_without(options):
    prior = tiny().double()
    labels = torch.tensor([0, 1, 1])
    noise = noise_for([5, 6, 7])
    drawn = prior.sample(3, noise=noise, labels=labels, **options)
    uniform = torch.special.ndtr(noise(-1, torch.zeros(3, 9)).double())
    codes = torch.zeros(3, 3, 3, dtype=torch.int64)
    with torch.no_grad():
        for place in range(9):
            logits = prior(codes, labels)[:, place]
            codes.view(3, 9)[:, place] = draw_code(logits, uniform[:, place], **options)
    assert torch.equal(drawn, codes)
    assert len(drawn.unique()) > 2


def test_a_seed_draws_the_same_whatever_the_batch():
    prior = tiny()
    labels = torch.tensor([0, 1, 0, 1])
    together = prior.sample(4, noise=noise_for([1, 2, 3, 4]), labels=labels)
    alone = [prior.sample(1, noise=noise_for([i + 1]), labels=labels[i : i + 1]) for i in range(4)]
    assert torch.equal(together, torch.cat(alone))
    assert len({tuple(row) for row in together.flatten(1).tolist()}) == 4


def test_draws_have_the_probabilities_that_the_prior_gives():
    """Of one cell, where they are known: 2,000 draws of 6 codes."""
    prior = tiny(cells=1, classes=())
    drawn = prior.sample(2000, noise=noise_for(range(2000))).flatten()
    with torch.no_grad():
        expected = prior(torch.zeros(1, 1, 1, dtype=torch.int64))[0, 0].softmax(0)
    found = torch.bincount(drawn, minlength=6) / 2000
    assert (found - expected).abs().max() < 4 * math.sqrt(0.25 / 2000)
    assert (expected > 0.05).sum() >= 2


EIGHTHS = torch.tensor([0.125, 0.5, 0.25, 0.125])
"""Probabilities of four codes."""
MIDDLES = (torch.arange(8) + 0.5) / 8
"""One number in the middle of each eighth."""


def drawn_at_middles(**options) -> list[int]:
    return draw_code(EIGHTHS.log().expand(8, 4), MIDDLES, **options).tolist()


def test_codes_are_drawn_from_the_likeliest_on():
    drawn = drawn_at_middles()
    assert drawn[:6] == [1, 1, 1, 1, 2, 2]
    assert sorted(drawn[6:]) == [0, 3]


def test_only_the_likeliest_are_drawn():
    assert drawn_at_middles(top_k=1) == [1] * 8
    assert drawn_at_middles(top_k=2) == [1] * 5 + [2] * 3  # two thirds and one third of eight
    assert drawn_at_middles(top_k=99) == drawn_at_middles()


def test_the_fewest_codes_of_a_probability_are_drawn():
    assert drawn_at_middles(top_p=0.5) == [1] * 8
    assert drawn_at_middles(top_p=0.51) == [1] * 5 + [2] * 3
    assert drawn_at_middles(top_p=0.75) == [1] * 5 + [2] * 3
    assert set(drawn_at_middles(top_p=0.76)) == {1, 2, drawn_at_middles()[6]}


def test_temperature_is_a_power_of_the_probability():
    """At one half they are squared: 1, 16, 4 and 1 of 22."""
    drawn = drawn_at_middles(temperature=0.5)
    edges = [16 / 22, 20 / 22]
    assert drawn[:7] == [1 if u < edges[0] else 2 for u in MIDDLES[:7].tolist()]
    assert drawn[7] in (0, 3)
    assert drawn_at_middles(temperature=1e-6) == [1] * 8


@given(st.integers(1, 9), st.floats(0.05, 1.0), st.floats(0.2, 3.0))
def test_every_number_draws_a_code_that_may_be_drawn(top_k, top_p, temperature):
    logits = torch.randn(4, 9) * 3
    uniform = torch.tensor([0.0, 1e-300, 1.0, 0.5], dtype=torch.float64)
    drawn = draw_code(logits, uniform, temperature=temperature, top_k=top_k, top_p=top_p)
    rank = (logits > logits.gather(1, drawn[:, None])).sum(1)
    assert (rank < top_k).all()
    assert rank[:2].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("options", "name"),
    [({"temperature": 0.0}, "temperature"), ({"top_k": 0}, "top_k"), ({"top_p": 0.0}, "top_p")],
)
def test_ways_of_drawing_that_make_no_sense_are_refused(options, name):
    with pytest.raises(UserError, match=name):
        tiny(classes=()).sample(1, noise=noise_for([0]), **options)


def test_labels_are_given_where_there_are_classes_and_nowhere_else():
    codes, labels = codes_and_labels()
    with pytest.raises(UserError, match="needs the class of every picture"):
        tiny().sample(2, noise=noise_for([0, 1]))
    with pytest.raises(UserError, match="has no classes"):
        tiny(classes=()).sample(2, noise=noise_for([0, 1]), labels=labels)
    with pytest.raises(UserError, match="labels from 0 to 2"):
        tiny()(codes, torch.tensor([0, 2]))


@pytest.mark.parametrize("fields", [{"num_codes": 1}, {"cells": 0}, {"dim": 20}, {"dropout": 1.0}])
def test_shapes_that_make_no_sense_are_refused(fields):
    with pytest.raises(UserError, match=next(iter(fields))):
        CodePriorConfig(**fields)


CHAIN = torch.tensor([[0.8, 0.1, 0.1], [0.1, 0.2, 0.7], [0.6, 0.3, 0.1]])
"""From each of three codes to the next, in raster order."""


def chain_codes(start: int, size: int) -> dict[str, torch.Tensor]:
    """Grids of 4×4 codes of the chain, from a uniform first one; by position."""
    uniform = torch.rand(size, 16, generator=generator_for(1, start))
    codes = [(uniform[:, 0] * 3).long()]
    for place in range(1, 16):
        edges = CHAIN[codes[-1]].cumsum(1)
        codes.append((uniform[:, place, None] > edges).sum(1).clamp(max=2))
    return {"codes": torch.stack(codes, 1).view(size, 4, 4)}


def chain_loss(model, batch, rng):
    return code_nats(model(batch["codes"]), batch["codes"]).mean() / 16, {}


def train_on_chain(out: Path, num_samples: int, *, resume: bool = False, dropout: float = 0.0) -> CodePrior:
    config = TrainingConfig(
        num_samples=num_samples,
        batch_size=32,
        learning_rate=1e-2,
        decay="constant",
        warmup=320,
        ema_half_life=320,
        preview_every=0,
        precision="fp32",
    )
    torch.manual_seed(0)
    shape = {"num_codes": 3, "cells": 4, "dim": 16, "head_dim": 8, "depth": 1, "mlp_ratio": 2.0}
    model = CodePrior(CodePriorConfig(**shape, dropout=dropout))
    objective = Objective("prior", lambda m: m.parameters(), chain_loss)
    state = train(model, [objective], chain_codes, config, out=out, resume=resume)
    return state.ema.model


def test_it_comes_to_the_entropy_rate_of_a_chain(tmp_path):
    """Of 16 codes the first costs log 3, and each next the entropy of the row that it is drawn from."""
    prior = train_on_chain(tmp_path, 3200)
    share, exact = torch.full((3,), 1 / 3), math.log(3)
    for _ in range(15):
        exact += float(share @ -(CHAIN * CHAIN.log()).sum(1))
        share = share @ CHAIN
    held_out = chain_codes(10**6, 2000)["codes"]
    with torch.no_grad():
        nats = code_nats(prior(held_out), held_out)
    error = float(nats.std()) / math.sqrt(2000)
    assert nats.mean().item() > exact - 3 * error
    assert nats.mean().item() < exact + 3 * error + 0.02 * exact
    assert exact < 0.75 * 16 * math.log(3)  # far from what a prior that has learnt nothing says


def test_dropout_does_not_break_the_resume(tmp_path):
    """What is dropped is a function of the seed and of the samples seen, like everything random."""
    train_on_chain(tmp_path / "whole", 256, dropout=0.3)
    train_on_chain(tmp_path / "parts", 128, dropout=0.3)
    train_on_chain(tmp_path / "parts", 256, dropout=0.3, resume=True)
    whole, parts = (
        checkpoint.read_tensors(tmp_path / name / "checkpoint-256" / "weights.safetensors")
        for name in ("whole", "parts")
    )
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    plain = train_on_chain(tmp_path / "plain", 256).state_dict()
    assert not torch.equal(plain["out.weight"], whole["out.weight"])


def test_a_checkpoint_holds_a_prior(tmp_path):
    prior = tiny()
    loaded = checkpoint.load(checkpoint.save(tmp_path / "prior", prior))
    codes, labels = codes_and_labels()
    assert loaded.kind == "code-prior"
    assert loaded.config == prior.config
    assert torch.equal(loaded.model(codes, labels), prior(codes, labels))
