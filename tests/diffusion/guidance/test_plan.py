import pytest
import torch

from melies.diffusion.guidance.plan import CPU_ROWS, Planner, join
from melies.diffusion.precondition import Preconditioned
from melies.interfaces import Branch
from melies.nn.transformer import Transformer, TransformerConfig


def network() -> Preconditioned:
    config = TransformerConfig(channels=2, size=4, patch=2, dim=32, depth=2, head_dim=16, text_dim=6)
    model = Preconditioned(Transformer(config), sigma_data=1.0).double().eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():  # its zero output would hide everything
        parameter.data = 0.2 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return model


def text(rows: int, length: int, seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    valid = torch.arange(length).expand(rows, -1) < torch.randint(
        1, length + 1, (rows, 1), generator=generator
    )
    return {
        "text": torch.randn(rows, length, 6, generator=generator, dtype=torch.float64),
        "text_valid": valid,
    }


def counting(denoiser):
    def counted(x, sigma, condition, *, attention=None):
        counted.batches.append(len(x))
        return denoiser(x, sigma, condition, attention=attention)

    counted.batches = []
    return counted


def branches(denoiser, rows: int) -> dict[str, Branch]:
    prompt = text(rows, 5, seed=1)
    absent = torch.zeros(rows, dtype=torch.bool)
    return {
        "conditional": Branch(denoiser, prompt),
        "null": Branch(denoiser, {**prompt, "present.text": absent}),
        "negative": Branch(denoiser, text(rows, 3, seed=2)),
    }


NAMES = ("conditional", "null", "negative")


@torch.no_grad()
def test_one_joint_call_says_what_single_calls_say():
    model, rows = network(), 2
    x = torch.randn(rows, 2, 4, 4, dtype=torch.float64)
    sigma = torch.tensor([0.3, 4.0], dtype=torch.float64)
    counted = counting(model)
    parts = branches(counted, rows)
    planner = Planner(parts)
    found = planner.evaluate(NAMES, x, sigma)
    assert counted.batches == [6]
    assert (planner.network_calls, planner.rows) == (1, 6)
    assert list(found) == list(NAMES)
    for name in NAMES:
        torch.testing.assert_close(found[name], model(x, sigma, parts[name].condition))
    assert (found["conditional"] - found["null"]).abs().max() > 1e-3
    assert (found["conditional"] - found["negative"]).abs().max() > 1e-3


@torch.no_grad()
def test_large_batches_on_a_cpu_go_branch_by_branch():
    rows = CPU_ROWS // 2 + 1
    counted = counting(network())
    planner = Planner(branches(counted, rows))
    planner.evaluate(
        ("conditional", "null"), torch.randn(rows, 2, 4, 4, dtype=torch.float64), torch.ones(rows)
    )
    assert counted.batches == [rows, rows]
    assert (planner.network_calls, planner.rows) == (2, 2 * rows)


@torch.no_grad()
def test_only_what_is_named_is_evaluated():
    counted = counting(network())
    planner = Planner(branches(counted, 1))
    found = planner.evaluate(("negative",), torch.randn(1, 2, 4, 4, dtype=torch.float64), torch.ones(1))
    assert list(found) == ["negative"]
    assert planner.rows == 1


@torch.no_grad()
def test_another_network_and_an_edited_branch_go_alone():
    strong, weak = counting(network()), counting(network())
    prompt = text(1, 4, seed=3)

    def edit(query, key, value, name):
        return None

    planner = Planner(
        {
            "conditional": Branch(strong, prompt),
            "null": Branch(strong, {**prompt, "present.text": torch.tensor([False])}),
            "edited": Branch(strong, prompt, edit),
            "weak": Branch(weak, prompt),
            "bare": Branch(weak, {}),
        }
    )
    x = torch.randn(1, 2, 4, 4, dtype=torch.float64)
    found = planner.evaluate(("conditional", "null", "edited", "weak", "bare"), x, torch.ones(1))
    assert strong.batches == [2, 1]
    assert weak.batches == [1, 1]
    torch.testing.assert_close(found["edited"], found["conditional"])


def test_join_pads_tokens_and_marks_them():
    long, short = text(2, 5, seed=1), text(2, 3, seed=2)
    joined = join([long, {**short, "present.text": torch.tensor([True, False])}])
    assert joined["text"].shape == (4, 5, 6)
    assert torch.equal(joined["text"][2:, :3], short["text"])
    assert not joined["text_valid"][2:, 3:].any()
    assert torch.equal(joined["text_valid"][2:, :3], short["text_valid"])
    assert joined["present.text"].tolist() == [True, True, True, False]


def test_join_pads_token_ids():
    def ids(length):
        return {
            "text_ids": torch.ones(1, length, dtype=torch.int64),
            "text_valid": torch.ones(1, length).bool(),
        }

    assert join([ids(2), ids(4)])["text_ids"].tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]


def test_join_refuses_what_padding_cannot_mend():
    with pytest.raises(ValueError, match="no mask"):
        join([{"hint": torch.zeros(1, 3, 4)}, {"hint": torch.zeros(1, 3, 5)}])
    with pytest.raises(ValueError, match="no 'class'"):
        join([{"class": torch.zeros(1)}, {"present.class": torch.zeros(1, dtype=torch.bool)}])
