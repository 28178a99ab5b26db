"""Every run gets as many pictures as its speed makes of its minutes, and keeps them when it goes on."""

import time
from dataclasses import dataclass, replace

import pytest

from melies.errors import UserError
from melies.recipes.job import Job
from melies.recipes.ladder import plan as planning
from melies.recipes.ladder.plan import (
    Planned,
    Stage,
    make_plan,
    read_plan,
    time_stage,
    with_length,
    write_plan,
)
from melies.recipes.ladder.settings import LadderSettings
from melies.training.log import Log
from melies.training.loop import TrainingConfig

SPEED = 20_000.0
"""Pictures a second of the made-up recipe."""


@dataclass(frozen=True, kw_only=True)
class Config:
    training: TrainingConfig = TrainingConfig(batch_size=10, warmup=1_000, ema_half_life=500.0, num_samples=5)


def run(config: Config, job: Job) -> None:
    """Training that takes its time by the log, and slowly in its first steps."""
    training = config.training
    with Log(job.out / "log.jsonl", samples_seen=0) as log:
        seconds = 0.0
        for seen in range(training.batch_size, training.num_samples + 1, training.batch_size):
            seconds += training.batch_size / SPEED * (50 if seen < 40 else 1)
            if seen % training.log_every == 0:
                log.write(samples_seen=seen, seconds=seconds)


STAGE = Stage("", 1.0, Config(), run)


@pytest.fixture
def job(tmp_path) -> Job:
    return Job(out=tmp_path / "runs")


@pytest.fixture
def alone(monkeypatch) -> None:
    """As if nobody else were at work on the machine."""
    monkeypatch.setattr(planning, "share_of_machine", lambda call: call() or 1.0)


def test_speed_is_that_after_the_first_steps(alone, job):
    assert time_stage(STAGE, job, seconds=0.2) == pytest.approx(SPEED, rel=0.01)


def test_a_machine_that_is_shared_is_allowed_for(job, monkeypatch):
    monkeypatch.setattr(planning, "share_of_machine", lambda call: call() or 0.25)
    assert time_stage(STAGE, job, seconds=0.1) == pytest.approx(4 * SPEED, rel=0.01)


def test_waiting_is_not_computing():
    assert planning.share_of_machine(lambda: time.sleep(0.1)) < 0.3
    assert 0.05 < planning.share_of_machine(lambda: sum(range(2_000_000))) <= 1


def test_minutes_become_pictures(job, monkeypatch):
    speeds = {"one": 100.0, "codes": 50.0, "prior": 10.0}
    monkeypatch.setattr(planning, "time_stage", lambda stage, job, seconds: speeds[stage.name])
    runs = {
        "single": (STAGE._replace(name="one"),),
        "double": (STAGE._replace(name="codes", share=0.25), STAGE._replace(name="prior", share=0.75)),
        "sweep": (STAGE._replace(name="one"),),
    }
    plan = make_plan(runs, job, minutes=2.0, shares={"sweep": 0.5})
    assert {name: [stage.num_samples for stage in stages] for name, stages in plan.items()} == {
        "single": [12_000],
        "double": [1_500, 900],
        "sweep": [6_000],
    }
    assert [stage.seconds for stage in plan["double"]] == [30.0, 90.0]
    assert not (job.out / "warm-up").exists()


def test_what_is_known_is_not_timed_again(job, monkeypatch):
    monkeypatch.setattr(planning, "time_stage", lambda stage, job, seconds: 100.0)
    known = {"single": (Planned(speed=7.0, num_samples=70),)}
    runs = {name: (STAGE,) for name in ("single", "new", "like")}
    plan = make_plan(runs, job, minutes=1.0, known=known, as_fast_as={"like": "single"})
    assert plan["single"] == known["single"]
    assert plan["new"][0].speed == 100
    assert plan["like"][0] == Planned(speed=7.0, num_samples=420)


def test_a_plan_is_whole_batches_and_at_least_one(job, monkeypatch):
    monkeypatch.setattr(planning, "time_stage", lambda stage, job, seconds: 0.01)
    assert make_plan({"a": (STAGE,)}, job, minutes=1.0)["a"][0].num_samples == 10


def test_the_second_stage_is_timed_on_what_the_first_has_trained(job, monkeypatch):
    seen = []
    monkeypatch.setattr(
        planning, "time_stage", lambda stage, job, seconds: seen.append((job.start_from, job.out)) or 1.0
    )
    make_plan({"a": (STAGE, STAGE)}, job, minutes=1.0)
    assert seen[0][0] is None
    assert seen[1][0] == str(seen[0][1])


def test_a_shorter_run_warms_up_and_averages_over_less():
    training = with_length(Config(), 1_000).training
    assert (training.num_samples, training.warmup, training.ema_half_life) == (1_000, 50, 50)
    longer = with_length(Config(), 100_000).training
    assert (longer.warmup, longer.ema_half_life) == (1_000, 500)
    often = replace(Config(), training=replace(Config().training, checkpoint_every_s=1.0))
    assert with_length(often, 10).training.checkpoint_every_s == 1
    assert longer.checkpoint_every_s == planning.CHECKPOINT_EVERY_S


def test_a_plan_is_kept_with_its_settings(tmp_path):
    path = tmp_path / "plan.json"
    settings = LadderSettings(rungs=("vae",), budget=0.5)
    plan = {"vae": (Planned(speed=3.5, num_samples=128),)}
    write_plan(path, settings, plan)
    assert read_plan(path, settings) == plan
    assert read_plan(path, replace(settings, rungs=("vae", "gan"))) == plan  # more rungs may come
    with pytest.raises(UserError, match=r"has budget = 0\.5, and not 1\.0.*--resume, or another --out"):
        read_plan(path, replace(settings, budget=1.0))


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"settings": {}, "runs": {"a": [{"speed": 1}]}}'])
def test_a_damaged_plan_is_named(tmp_path, content):
    (tmp_path / "plan.json").write_text(content)
    with pytest.raises(UserError, match=r"plan\.json: not the plan of a ladder"):
        read_plan(tmp_path / "plan.json", LadderSettings())


def test_timing_a_real_clock_ends(alone, job):
    """A recipe that is slower than thought is not timed for ever."""

    def slow(config: Config, job: Job) -> None:
        with Log(job.out / "log.jsonl", samples_seen=0) as log:
            started = time.perf_counter()
            for seen in range(10, config.training.num_samples + 1, 10):
                time.sleep(0.005)
                log.write(samples_seen=seen, seconds=time.perf_counter() - started)

    started = time.perf_counter()
    speed = time_stage(STAGE._replace(run=slow), job, seconds=0.1)
    assert 200 < speed < 2_000
    assert time.perf_counter() - started < 5
