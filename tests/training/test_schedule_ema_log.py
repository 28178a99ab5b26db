"""The small parts of training."""

import pytest
import torch
from torch import nn

from melies.training.ema import EMA
from melies.training.log import Log, read_log
from melies.training.schedule import learning_rate


def rate(samples, **options):
    return learning_rate(samples, **{"peak": 2.0, "warmup": 100, "total": 1100, **options})


def test_warm_up_rises_to_the_peak_and_decay_ends_at_the_final_share():
    assert rate(0) == pytest.approx(2 / 101)
    assert rate(100) == pytest.approx(2.0)
    assert rate(600, decay="linear") == pytest.approx(1.0)
    assert rate(600, decay="cosine") == pytest.approx(1.0)
    assert rate(350, decay="cosine") == pytest.approx(1 + 2**-0.5)
    assert rate(1100, decay="linear", final=0.1) == pytest.approx(0.2)
    assert rate(5000, decay="constant") == 2.0


def test_hold_delays_the_decay():
    assert rate(549, decay="linear", hold=0.5) == 2.0
    assert rate(825, decay="linear", hold=0.5) == pytest.approx(1.0)


def test_ema_halves_the_weight_of_the_past_in_a_half_life():
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    ema = EMA(model, half_life=1000, ramp=1e9)
    nn.init.ones_(model.weight)
    for step in range(10):
        ema.update(model, num_samples=100, samples_seen=100 * (step + 1))
    assert float(ema.model.weight) == pytest.approx(0.5, abs=1e-5)


def test_ema_follows_quickly_at_first():
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    ema = EMA(model, half_life=1e9, ramp=0.05)
    nn.init.ones_(model.weight)
    ema.update(model, num_samples=100, samples_seen=100)
    assert float(ema.model.weight) == pytest.approx(1 - 0.5**20)


def test_a_resumed_log_drops_what_came_after_its_checkpoint_and_a_cut_line(tmp_path):
    path = tmp_path / "log.jsonl"
    with Log(path) as log:
        for samples in (10, 20, 30):
            log.write(samples_seen=samples, loss=1.0)
    with path.open("a") as file:
        file.write('{"samples_seen": 40, "lo')
    with Log(path, samples_seen=20) as log:
        log.write(samples_seen=30, loss=2.0)
    assert [(row["samples_seen"], row["loss"]) for row in read_log(path)] == [(10, 1.0), (20, 1.0), (30, 2.0)]


def test_ema_buffers_are_copied():
    model = nn.BatchNorm1d(2)
    ema = EMA(model, half_life=10)
    model(torch.randn(8, 2) + 5)
    ema.update(model, num_samples=1, samples_seen=1)
    assert torch.equal(ema.model.running_mean, model.running_mean)
