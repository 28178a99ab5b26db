"""The training loop: progress, resume bit for bit, kill -9, and runs that must stop."""

import importlib.util
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from melies import checkpoint
from melies.errors import UserError
from melies.training.log import read_log
from melies.training.loop import TrainingConfig

TOY = Path(__file__).with_name("toy.py")
_spec = importlib.util.spec_from_file_location("toy", TOY)
toy = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(toy)


def weights(out: Path, name: str = "weights") -> dict[str, torch.Tensor]:
    return checkpoint.read_tensors(checkpoint.newest_checkpoint(out) / f"{name}.safetensors")


def same(a, b) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_the_loss_falls_and_the_log_tells_it(tmp_path):
    state = toy.run(tmp_path, num_samples=1600, learning_rate=3e-3)
    losses = [row["loss"] for row in read_log(tmp_path / "log.jsonl")]
    assert state.samples_seen == 1600
    assert losses[-1] < losses[0] / 3
    assert {"loss", "gradient_norm", "learning_rate", "seconds"} <= read_log(tmp_path / "log.jsonl")[0].keys()


def test_n_steps_equal_k_steps_and_a_resume(tmp_path):
    toy.run(tmp_path / "whole")
    toy.run(tmp_path / "parts", num_samples=64, decay="constant")  # the first half of another plan
    part = checkpoint.newest_checkpoint(tmp_path / "parts")
    toy.run(tmp_path / "whole2", num_samples=160, decay="constant")
    toy.run(tmp_path / "parts", resume=True, num_samples=160, decay="constant")
    assert part.name == "checkpoint-64"
    for name in ("weights", "ema"):
        assert same(weights(tmp_path / "parts", name), weights(tmp_path / "whole2", name))
    assert not same(weights(tmp_path / "whole"), weights(tmp_path / "whole2"))
    a, b = (checkpoint.read_resume(checkpoint.newest_checkpoint(tmp_path / n)) for n in ("parts", "whole2"))
    a_moments = a["optimizers"]["codec"]["state"][0]["exp_avg"]
    assert torch.equal(a_moments, b["optimizers"]["codec"]["state"][0]["exp_avg"])


def test_accumulated_parts_see_the_same_samples(tmp_path):
    seen: dict[int, list[tuple[int, int]]] = {1: [], 4: []}
    for accumulate, spans in seen.items():

        def data(start, size, spans=spans):
            spans.append((start, size))
            return toy.batches(start, size)

        toy.run(tmp_path / str(accumulate), data=data, num_samples=32, accumulate=accumulate)
    assert seen[1] == [(0, 16), (16, 16)]
    assert seen[4] == [(i, 4) for i in range(0, 32, 4)]


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_ends_like_one_that_was_not(tmp_path):
    """SIGKILL at random moments, many of them inside a write: the checkpoint is always readable."""
    toy.run(tmp_path / "calm", num_samples=16 * 150)
    chance = random.Random(7)
    command = [sys.executable, str(TOY), str(tmp_path / "killed"), str(16 * 150), "loss_fn"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    kills = 0
    for _ in range(12):
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 60
        before = checkpoint.newest_checkpoint(tmp_path / "killed")
        while process.poll() is None and time.monotonic() < deadline and kills < 3:
            time.sleep(0.02)
            if checkpoint.newest_checkpoint(tmp_path / "killed") != before:  # it trains: kill it soon
                time.sleep(chance.random() * 0.3)
                process.send_signal(signal.SIGKILL)
                kills += 1
                break
        _, error = process.communicate(timeout=120)
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, error.decode()
        folder = checkpoint.newest_checkpoint(tmp_path / "killed")
        if folder is not None:
            checkpoint.load(folder)
            checkpoint.read_resume(folder)
    assert kills >= 3
    assert process.returncode == 0
    assert same(weights(tmp_path / "killed"), weights(tmp_path / "calm"))
    assert same(weights(tmp_path / "killed", "ema"), weights(tmp_path / "calm", "ema"))
    assert not list((tmp_path / "killed").glob(".checkpoint*"))


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_checkpoint(tmp_path):
    def loss(model, batch, rng):
        value, scalars = toy.loss_fn(model, batch, rng)
        return (value / 0 if toy_position(batch) >= 48 else value), scalars

    def toy_position(batch):
        return next(i for i in range(0, 160, 16) if torch.equal(batch[0], toy.batches(i, 1)[0]))

    with pytest.raises(FloatingPointError, match="the loss is inf: objective 'codec', after 48 samples"):
        toy.run(tmp_path, loss=loss)
    assert checkpoint.newest_checkpoint(tmp_path).name == "checkpoint-48"
    checkpoint.load(tmp_path)


def test_a_gradient_that_is_not_finite_names_its_parameters(tmp_path):
    def loss(model, batch, rng):
        value, scalars = toy.loss_fn(model, batch, rng)
        poison = model.decoder[0].bias.sum() * 0
        return value + torch.sqrt(poison) * 0, scalars  # the derivative of a root at zero

    with pytest.raises(FloatingPointError, match=r"gradient is not finite in .*decoder\.0\.bias"):
        toy.run(tmp_path, loss=loss)


def test_a_folder_with_a_run_is_not_overwritten(tmp_path):
    toy.run(tmp_path, num_samples=16)
    with pytest.raises(UserError, match="already holds a run"):
        toy.run(tmp_path)


def test_another_model_does_not_go_on_with_a_run(tmp_path, monkeypatch):
    toy.run(tmp_path, num_samples=16)
    with monkeypatch.context() as other:
        other.setattr(toy, "CODEC", toy.CodecConfig(latent_channels=2, widths=(16, 16)))
        with pytest.raises(UserError, match="checkpoint-16: the checkpoint"):
            toy.run(tmp_path, resume=True)
    resume = tmp_path / "checkpoint-16" / checkpoint.RESUME
    torch.save({"samples_seen": 16}, resume)
    with pytest.raises(UserError, match=r"resume\.pt: not the state of this run"):
        toy.run(tmp_path, resume=True)


@pytest.mark.parametrize("betas", [(1.0, 0.9), (0.9, -0.1), (float("nan"), 0.9)])
def test_averages_beyond_their_range_are_refused(betas):
    with pytest.raises(UserError, match="betas"):
        TrainingConfig(betas=betas)


def test_two_objectives_train_their_own_parameters(tmp_path):
    from melies.interfaces import Objective
    from melies.training.loop import train

    model = toy.ImageCodec(toy.CODEC)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    objectives = [
        Objective("encoder", lambda m: m.encoder.parameters(), toy.loss_fn),
        Objective("nothing", lambda m: [m.decoder[0].bias], toy.loss_fn),
    ]
    train(model, objectives, toy.batches, toy.config(num_samples=16), out=tmp_path)
    after = model.state_dict()
    moved = {name for name in after if not torch.equal(after[name], before[name])}
    assert any(name.startswith("encoder") for name in moved)
    assert {name for name in moved if name.startswith("decoder")} == {"decoder.0.bias"}


def test_an_objective_gives_no_gradient_to_the_parameters_of_another(tmp_path):
    """And a parameter that was fixed before stays so afterwards."""
    from melies.interfaces import Objective
    from melies.training.loop import train

    model = toy.ImageCodec(toy.CODEC)
    model.encoder[1].bias.requires_grad_(False)
    before = [p.requires_grad for p in model.parameters()]
    seen = []

    def loss(m, batch, rng):
        seen.append([p.requires_grad for p in (*m.encoder.parameters(), *m.decoder.parameters())])
        return toy.loss_fn(m, batch, rng)

    objectives = [
        Objective("encoder", lambda m: m.encoder.parameters(), loss),
        Objective("decoder", lambda m: m.decoder.parameters(), loss),
    ]
    train(model, objectives, toy.batches, toy.config(num_samples=16), out=tmp_path)
    count = len(list(model.encoder.parameters()))
    encoder, decoder = seen
    assert encoder == before[:count] + [False] * (len(before) - count)
    assert decoder == [False] * count + [True] * (len(before) - count)
    assert [p.requires_grad for p in model.parameters()] == before


def test_a_clip_of_zero_leaves_the_gradient_as_it_is(tmp_path):
    norms = {}
    for clip in (0.0, 1e-3):
        state = toy.run(tmp_path / str(clip), num_samples=16, clip=clip)
        norms[clip] = torch.nn.utils.get_total_norm([p.grad for p in state.model.parameters()])
    assert norms[1e-3] == pytest.approx(1e-3, rel=1e-3)
    assert norms[0.0] > 0.01


def test_the_preview_sees_the_averaged_model(tmp_path):
    seen = []
    objective = toy.Objective("codec", lambda m: m.parameters(), toy.loss_fn)
    config = toy.config(num_samples=64, preview_every=32)
    state = toy.train(
        toy.ImageCodec(toy.CODEC),
        [objective],
        toy.batches,
        config,
        out=tmp_path,
        preview=lambda model, folder, samples: seen.append((model, folder.name, samples)),
    )
    assert [(name, samples) for _, name, samples in seen] == [("preview", 32), ("preview", 64)]
    assert all(model is state.ema.model for model, _, _ in seen)


@pytest.mark.parametrize("field", ["batch_size", "learning_rate", "num_samples", "ema_half_life"])
def test_a_config_refuses_zero(field):
    with pytest.raises(UserError, match=field):
        TrainingConfig(**{field: 0})


def test_a_batch_must_divide_into_its_parts():
    with pytest.raises(UserError, match="does not divide"):
        TrainingConfig(batch_size=10, accumulate=3)


def test_the_optimizer_decays_matrices_only(tmp_path):
    state = toy.run(tmp_path, num_samples=16)
    decayed, kept = state.optimizers["codec"].param_groups
    assert all(p.ndim >= 2 for p in decayed["params"])
    assert all(p.ndim < 2 for p in kept["params"])
    assert kept["weight_decay"] == 0.0
    assert len(decayed["params"]) + len(kept["params"]) == sum(1 for _ in state.model.parameters())
    assert isinstance(state.model, nn.Module)


@pytest.mark.slow
def test_two_processes_under_torchrun_train_as_one_does(tmp_path):
    """The same batch in two halves: the same weights, up to the order of a sum."""
    toy.run(tmp_path / "one", num_samples=64, loss=toy.calm_loss_fn)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    arguments = [str(TOY), str(tmp_path / "two"), "64", "calm_loss_fn"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run([*command, *arguments], env=environment, capture_output=True, timeout=180)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert one.keys() == two.keys()
    rows = [read_log(tmp_path / name / "log.jsonl") for name in ("one", "two")]
    assert [r["samples_seen"] for r in rows[0]] == [r["samples_seen"] for r in rows[1]]
    for name in one:
        assert torch.allclose(one[name], two[name], atol=1e-3), name


@pytest.mark.slow
def test_two_processes_train_two_objectives_as_one_does(tmp_path):
    """Each with a gradient for its own half of the weights only."""
    toy.run_halves(tmp_path / "one", num_samples=64)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(
        [*command, str(TOY), str(tmp_path / "two"), "64", "halves"],
        env=environment,
        capture_output=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert one.keys() == two.keys()
    for name in one:
        assert torch.allclose(one[name], two[name], atol=1e-3), name


def test_runs_of_several_precisions_in_one_process(tmp_path):
    seen = []

    def loss(model, batch, rng):
        value, scalars = toy.loss_fn(model, batch, rng)
        seen.append(torch.is_autocast_enabled("cpu"))
        return value, scalars

    for name in ("bf16", "fp32", "auto"):
        toy.run(tmp_path / name, num_samples=16, precision=name, loss=loss)
    assert seen[:2] == [True, False]


def test_a_run_that_has_done_enough_ends_after_a_preview_and_stays_ended(tmp_path):
    """Asked at the beginning and after each preview; the weights are those of a run of that length."""
    asked = []

    def enough() -> bool:
        asked.append(True)
        return len(asked) == 3

    stopped = toy.run(tmp_path / "stopped", num_samples=640, preview_every=64, stop=enough, decay="constant")
    whole = toy.run(tmp_path / "whole", num_samples=128, preview_every=64, decay="constant")
    assert stopped.samples_seen == 128
    assert same(weights(tmp_path / "stopped"), weights(tmp_path / "whole"))
    assert read_log(tmp_path / "stopped" / "log.jsonl")[-1]["samples_seen"] <= 128
    again = toy.run(tmp_path / "stopped", resume=True, num_samples=640, stop=lambda: True, decay="constant")
    assert again.samples_seen == whole.samples_seen == 128
