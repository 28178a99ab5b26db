"""Quantisers against what can be worked out by hand, and against the reference library."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from melies.autoencoders.quantize import (
    Codebook,
    CodebookConfig,
    FiniteScalar,
    FiniteScalarConfig,
    bound,
    build_quantizer,
    code_sums,
    commitment_loss,
    k_means,
    nearest_codes,
    smoothed_counts,
    straight_through,
)
from melies.errors import UserError


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def grid_of(vectors: torch.Tensor) -> torch.Tensor:
    """Rows as the latents of one picture, one cell high."""
    return vectors.T[None, :, None, :]


def codebook(vectors: list[list[float]] | torch.Tensor, **fields) -> Codebook:
    """A codebook at these vectors, each used once so far."""
    vectors = torch.as_tensor(vectors)
    made = Codebook(CodebookConfig(num_codes=len(vectors), dim=vectors.shape[1], **fields))
    made.codebook.copy_(vectors)
    made.sums.copy_(vectors)
    return made


@given(st.integers(0, 40), st.integers(1, 9), st.integers(1, 5), st.integers(1, 100))
def test_the_nearest_code_is_the_nearest_whatever_the_block(num, num_codes, dim, block):
    vectors, codes = torch.randn(num, dim), torch.randn(num_codes, dim)
    exact = (vectors[:, None].double() - codes).square().sum(-1)
    found = nearest_codes(vectors, codes, block=block)
    assert found.shape == (num,)
    chosen = exact.gather(1, found[:, None]).squeeze(1)
    assert torch.allclose(chosen, exact.amin(1) if num else chosen, atol=1e-5)


def test_half_precision_around_it_does_not_confuse_neighbours():
    codes = 10 + torch.arange(64.0)[:, None] * 0.01 * torch.ones(64, 2)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(nearest_codes(codes, codes), torch.arange(64))


def test_straight_through_has_the_value_of_one_and_the_gradient_of_the_other():
    latents, quantized = (torch.randn(3, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    out = straight_through(latents, quantized)
    torch.testing.assert_close(out, quantized)
    weight = torch.randn(3, 4, dtype=torch.float64)
    (out * weight).sum().backward()
    assert torch.equal(latents.grad, weight)
    assert quantized.grad is None


def test_commitment_pulls_the_latents_only():
    latents = torch.tensor([1.0, 2.0], requires_grad=True)
    quantized = torch.tensor([0.0, 4.0], requires_grad=True)
    loss = commitment_loss(latents, quantized)
    loss.backward()
    assert loss.item() == pytest.approx((1 + 4) / 2)
    assert latents.grad.tolist() == [1.0, -2.0]  # 2 (x − q) / 2
    assert quantized.grad is None


def test_smoothing_keeps_the_total():
    counts = torch.tensor([6.0, 2.0, 0.0])
    # (6 + 1) / (8 + 3) · 8, and so on
    torch.testing.assert_close(smoothed_counts(counts, 1.0), torch.tensor([56 / 11, 24 / 11, 8 / 11]))
    assert float(smoothed_counts(counts, 0.3).sum()) == pytest.approx(8.0)


def test_sums_of_the_vectors_of_each_code():
    vectors = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    counts, sums = code_sums(vectors, torch.tensor([2, 0, 2]), 4)
    assert counts.tolist() == [1, 0, 2, 0]
    assert sums.tolist() == [[3, 4], [0, 0], [6, 8], [0, 0]]


def test_one_update_by_hand():
    """Decay 0.5, codes at 0 and 10 with a count of 1 each; 1, 2 and 3 go to the first, 9 to the second."""
    made = codebook([[0.0], [10.0]], decay=0.5, epsilon=1.0, restart=0.0)
    latents = torch.tensor([[1.0], [2.0], [3.0], [9.0]])
    quantized = made(grid_of(latents))
    assert quantized.codes.tolist() == [[[0, 0, 0, 1]]]
    assert quantized.latents.flatten().tolist() == [0, 0, 0, 10]
    assert float(quantized.commitment) == pytest.approx((1 + 4 + 9 + 1) / 4)
    made.update(grid_of(latents), quantized.codes, generator())
    assert made.counts.tolist() == [2.0, 1.0]  # (1 + 3) / 2, (1 + 1) / 2
    assert made.sums.flatten().tolist() == [3.0, 9.5]  # (0 + 6) / 2, (10 + 9) / 2
    smoothed = [(2 + 1) / (3 + 2) * 3, (1 + 1) / (3 + 2) * 3]
    expected = [3.0 / smoothed[0], 9.5 / smoothed[1]]
    torch.testing.assert_close(made.codebook.flatten(), torch.tensor(expected))


def test_the_codes_of_two_gaussians_come_to_their_means():
    means = torch.tensor([[-3.0, 1.0], [2.0, 4.0]])
    made = Codebook(CodebookConfig(num_codes=2, dim=2, decay=0.98, lloyd_steps=0))
    noise, started = generator(1), False
    for _ in range(400):
        latents = grid_of(means.repeat(128, 1) + 0.5 * torch.randn(256, 2, generator=noise))
        if not started:
            made.start(latents, generator(2))
            started = True
        made.update(latents, made(latents).codes, noise)
    order = made.codebook[:, 0].argsort()
    # 128 vectors a step over some 99 steps: a standard error of 0.5/√(128·99) ≈ 0.0044
    assert (made.codebook[order] - means).abs().max() < 0.02
    assert made.counts.tolist() == pytest.approx([128, 128], abs=1)


def test_k_means_finds_the_clusters_and_leaves_a_centre_without_vectors_alone():
    vectors = torch.tensor([[0.0], [0.2], [5.0], [5.2]])
    centres = k_means(vectors, 2, generator(0), num_steps=5)
    assert sorted(centres.flatten().tolist()) == pytest.approx([0.1, 5.1])
    twins = k_means(torch.tensor([[1.0], [1.0], [3.0]]), 3, generator(0), num_steps=3)
    assert sorted(twins.flatten().tolist()) == [1.0, 1.0, 3.0]


@pytest.mark.parametrize("lloyd_steps", [0, 5])
def test_a_codebook_starts_where_the_latents_are(lloyd_steps):
    latents = torch.randn(4, 3, 5, 5, generator=generator(3)) + 7
    made = Codebook(CodebookConfig(num_codes=20, dim=3, lloyd_steps=lloyd_steps, epsilon=1e-9))
    made.start(latents, generator(4))
    assert (made.codebook - 7).abs().max() < 5
    assert float(made.counts.mean()) == pytest.approx(1.0)
    torch.testing.assert_close(made.sums / made.counts[:, None], made.codebook)
    if lloyd_steps == 0:
        rows = latents.permute(0, 2, 3, 1).flatten(0, 2)
        assert (made.codebook[:, None] == rows).all(-1).any(1).all()
    again = Codebook(made.config)
    again.start(latents, generator(4))
    assert torch.equal(again.codebook, made.codebook)


def test_a_codebook_larger_than_the_data_is_refused():
    made = Codebook(CodebookConfig(num_codes=26, dim=3))
    with pytest.raises(UserError, match="26 codes is larger than the data, which has 25 latent vectors"):
        made.start(torch.randn(1, 3, 5, 5), generator())


def usage_after(restart: float, steps: int = 30) -> float:
    """Share of codes in use, from a codebook of which one code is among the data and the others far away."""
    far = 100 + torch.arange(16.0)[:, None] * torch.ones(16, 2)
    far[0] = 0.0
    made, noise = codebook(far, decay=0.8, restart=restart), generator(5)
    for _ in range(steps):
        latents = torch.randn(8, 2, 4, 4, generator=noise)
        made.update(latents, made(latents).codes, noise)
    return len(made(latents).codes.unique()) / 16


def test_restart_brings_dead_codes_to_life():
    assert usage_after(0.0) == 1 / 16
    assert usage_after(0.1) > 0.9


def test_a_restarted_code_stands_on_a_latent_of_the_batch_with_the_count_of_the_barely_used():
    made = codebook([[0.0], [50.0], [60.0]], decay=0.5, restart=0.5)
    latents = torch.tensor([[1.0], [2.0], [3.0], [4.0]])
    made.update(grid_of(latents), torch.zeros(1, 1, 4, dtype=torch.int64), generator())
    barely = 0.5 * (2.5 + 0.5 + 0.5) / 3  # counts after the decay, before the restart
    assert made.counts.tolist() == pytest.approx([2.5, barely, barely])
    places = made.codebook[1:].flatten().tolist()
    assert set(places) < {1.0, 2.0, 3.0, 4.0}
    assert places[0] != places[1]
    torch.testing.assert_close(made.sums[1:], made.codebook[1:] * barely)


def test_more_dead_codes_than_latents_wait_for_the_next_batch():
    made = codebook(torch.full((6, 1), 99.0), decay=0.5, restart=0.5)
    made.counts[1:] = 0.0
    made.update(torch.tensor([[[[1.0, 2.0]]]]), torch.zeros(1, 1, 2, dtype=torch.int64), generator())
    assert sorted(made.codebook[1:3].flatten().tolist()) == [1.0, 2.0]
    assert not set(made.codebook[3:].flatten().tolist()) & {1.0, 2.0}


def test_processes_move_their_codebooks_by_the_sum_of_their_batches(monkeypatch):
    """Two processes with the same batch do as one with that batch twice."""
    latents = torch.randn(2, 3, 4, 4)
    start = torch.randn(5, 3)
    one, two = (codebook(start, restart=0.0) for _ in range(2))
    twice = torch.cat([latents, latents])
    one.update(twice, one(twice).codes, generator())
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda tensor: tensor.mul_(2))
    two.update(latents, two(latents).codes, generator())
    torch.testing.assert_close(two.codebook, one.codebook)
    torch.testing.assert_close(two.counts, one.counts)


def test_levels_by_hand():
    """Three levels are −1, 0, 1; four are −2 … 1 in halves of two, so that 0 is one of them."""
    made = FiniteScalar(FiniteScalarConfig(levels=(3, 4)))
    far, near = 20.0, 0.0
    latents = torch.tensor([[-far, -far], [near, near], [far, far], [near, far]])
    quantized = made(grid_of(latents))
    assert (
        grid_of(torch.tensor([[-1, -1.0], [0, 0], [1, 0.5], [0, 0.5]])).tolist() == quantized.latents.tolist()
    )
    # digits count from the lowest level; the first channel is the lowest place
    assert quantized.codes.tolist() == [[[0, 1 + 3 * 2, 2 + 3 * 3, 1 + 3 * 3]]]
    assert float(quantized.commitment) == 0.0


@given(st.lists(st.integers(3, 8), min_size=1, max_size=4))
def test_every_level_is_in_reach_and_codes_and_vectors_say_the_same(levels):
    made = FiniteScalar(FiniteScalarConfig(levels=tuple(levels)))
    for level in levels:
        values = bound(torch.linspace(-9, 9, 2001)[:, None], torch.tensor([level])).round()
        assert len(values.unique()) == level
        assert (values.diff(dim=0) >= 0).all()
    everything = torch.arange(made.num_codes).view(1, 1, -1)
    vectors = made.lookup(everything)
    assert len(vectors[0, :, 0].T.unique(dim=0)) == made.num_codes
    assert vectors.min() == -1.0
    assert vectors.max() <= 1.0
    quantized = made(torch.randn(2, len(levels), 3, 3) * 3)
    torch.testing.assert_close(made.lookup(quantized.codes), quantized.latents)


def test_the_gradient_of_levels_is_that_of_the_squashing():
    made = FiniteScalar(FiniteScalarConfig(levels=(5, 8)))
    latents = torch.randn(1, 2, 3, 3, requires_grad=True)
    made(latents).latents.sum().backward()
    again = latents.detach().clone().requires_grad_()
    (bound(again.movedim(1, -1), made.levels) / (made.levels // 2)).sum().backward()
    torch.testing.assert_close(latents.grad, again.grad)


def test_levels_have_nothing_to_learn():
    made = build_quantizer(FiniteScalarConfig(levels=(5, 5)))
    before = made(torch.ones(1, 2, 2, 2)).latents
    made.start(torch.randn(1, 2, 2, 2), generator())
    made.update(torch.randn(1, 2, 2, 2), torch.zeros(1, 2, 2, dtype=torch.int64), generator())
    assert torch.equal(made(torch.ones(1, 2, 2, 2)).latents, before)
    assert made.state_dict() == {}


@pytest.mark.parametrize(
    "fields",
    [
        {"num_codes": 1},
        {"dim": 0},
        {"decay": 1.0},
        {"epsilon": 0.0},
        {"restart": -0.1},
        {"restart": 1.0},
        {"lloyd_steps": -1},
    ],
)
def test_codebooks_that_make_no_sense_are_refused(fields):
    with pytest.raises(UserError, match=next(iter(fields))):
        CodebookConfig(**fields)


@pytest.mark.parametrize("levels", [(), (2, 5), (8,) * 9])
def test_levels_that_make_no_sense_are_refused(levels):
    with pytest.raises(UserError, match="levels"):
        FiniteScalarConfig(levels=levels)


@pytest.mark.parity
def test_a_step_is_that_of_the_reference_library():
    peer = pytest.importorskip("vector_quantize_pytorch")
    theirs = peer.VectorQuantize(
        dim=6,
        codebook_size=12,
        decay=0.9,
        commitment_weight=0.25,
        kmeans_init=False,
        threshold_ema_dead_code=0,
        rotation_trick=False,
        accept_image_fmap=True,
    )
    start = torch.randn(12, 6)
    ours = codebook(start, decay=0.9, restart=0.0)
    theirs._codebook.embed.copy_(start[None])
    theirs._codebook.embed_avg.copy_(start[None])
    theirs.train()
    for _ in range(4):
        latents = torch.randn(3, 6, 5, 5)
        mine, their = (latents.clone().requires_grad_() for _ in range(2))
        quantized = ours(mine)
        ours.update(mine, quantized.codes, generator())
        their_latents, their_codes, their_loss = theirs(their)
        assert torch.equal(quantized.codes, their_codes)
        torch.testing.assert_close(quantized.latents, their_latents)
        torch.testing.assert_close(0.25 * quantized.commitment, their_loss.squeeze())
        weight = torch.randn_like(latents)
        for out, loss in (
            (quantized.latents, 0.25 * quantized.commitment),
            (their_latents, their_loss.sum()),
        ):
            ((out * weight).sum() + loss).backward()
        torch.testing.assert_close(mine.grad, their.grad)
        torch.testing.assert_close(ours.codebook, theirs._codebook.embed[0])
        torch.testing.assert_close(ours.counts, theirs._codebook.cluster_size[0])


@pytest.mark.parity
@pytest.mark.parametrize("levels", [[8, 5, 5, 5], [3, 4], [7]])
def test_levels_are_those_of_the_reference_library(levels):
    peer = pytest.importorskip("vector_quantize_pytorch")
    theirs = peer.FSQ(levels)
    ours = FiniteScalar(FiniteScalarConfig(levels=tuple(levels)))
    mine, their = (
        torch.linspace(-4, 4, 2 * len(levels) * 25).view(2, len(levels), 5, 5).requires_grad_()
        for _ in range(2)
    )
    quantized = ours(mine)
    their_latents, their_codes = theirs(their)
    torch.testing.assert_close(quantized.latents, their_latents)
    assert torch.equal(quantized.codes, their_codes.long())
    quantized.latents.square().sum().backward()
    their_latents.square().sum().backward()
    torch.testing.assert_close(mine.grad, their.grad)
    everything = torch.arange(ours.num_codes)
    vectors = ours.lookup(everything.view(1, 1, -1))[0, :, 0].T
    torch.testing.assert_close(vectors, theirs.indices_to_codes(everything))
