"""A whole ladder, end to end: every rung, one table, one page; stopped anywhere it goes on to the same."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from melies.cli.main import main
from melies.errors import UserError
from melies.progress import Track, silent
from melies.recipes.job import Job
from melies.recipes.ladder import BETAS, RUNGS
from melies.recipes.ladder.measure import REAL, SHARED
from melies.recipes.ladder.run import REAL_RECORD, run_ladder
from melies.recipes.ladder.settings import LadderSettings
from melies.recipes.ladder.sweep import SWEEP
from melies.report.record import Record, plain_name, read_record

TIMED = ("training speed", "drawing time", "training time")
"""What is another each time."""


def climb(data: Path, out: Path, *rungs: str, progress=silent, **fields) -> dict[str, Record]:
    settings = LadderSettings(data=str(data), budget=0.005, count=50, steps=2, rungs=rungs)
    job = Job(out=out, say=lambda line: None, progress=progress, **fields)
    return dict(run_ladder(settings, job).records)


@pytest.fixture
def unseen(monkeypatch) -> None:
    """No figures, which take longer than all the rest."""
    monkeypatch.setattr("melies.recipes.ladder.run.make_figures", lambda *args: [])


def numbers(records: dict[str, Record]) -> dict[str, list]:
    return {
        name: [metric for metric in record.metrics if metric.name not in TIMED]
        for name, record in records.items()
    }


def test_the_command_climbs_every_rung(quick, halves, capsys):
    argv = ["ladder", "--data", str(halves), "--budget", "0.005", "--count", "50", "--steps", "2"]
    assert main([*argv, "--out", "out", "--quiet"]) == 0
    table = capsys.readouterr().out
    assert all(f"\n{name} " in table for name in (*RUNGS, "real pictures"))
    headers = " ".join(line for line in table.splitlines() if line.startswith("of "))
    assert all(f"{name} " in f"{headers} " for name in REAL)  # whatever the width of the terminal

    records = {path.stem: read_record(path) for path in Path("out/records").iterdir()}
    assert set(records) == {*RUNGS, SWEEP, REAL_RECORD}
    assert {plain_name(metric.name) for metric in records[REAL_RECORD].metrics} == set(REAL)
    for rung in RUNGS:
        classes = rung in ("cvae", "vqvae", "gan-classes", "ddpm")
        missing = [name for name in SHARED if records[rung].find(name) is None]
        assert missing == ([] if classes else ["conditional accuracy"])
        counts = {plain_name(metric.name): metric.num_samples for metric in records[rung].metrics}
        assert counts["FD"] == counts["FD of training pictures"] == 50
    everything = {name: {plain_name(m.name) for m in record.metrics} for name, record in records.items()}
    assert all(f"active share, β = {beta:g}" in everything[SWEEP] for beta in BETAS)
    assert {"codebook usage", "codebook perplexity"} <= everything["vqvae"]
    assert "discriminator's lead" in everything["gan"]
    assert {"FD, 2 steps", "FD, 4 steps"} <= everything["ddpm"]

    figures = {path.stem for path in Path("out/figures").glob("*.png")}
    assert {f"samples-{rung}" for rung in RUNGS} | {f"nearest-{rung}" for rung in RUNGS} <= figures
    assert {
        "ladder",
        "real",
        "reconstructions",
        "interpolations",
        "overfitting",
        "holes",
        "spectrum",
    } <= figures
    assert {"collapse", "modes", "steps", "times", "map-autoencoder", "map-vae"} <= figures
    page = Path("out/ladder.html").read_text()
    assert page.count("<img") == len(figures)
    assert "http://" not in page
    assert "https://" not in page
    with Image.open("out/figures/samples-cvae.png") as picture:
        assert picture.width > 2 * 8


class Stop(BaseException):
    """As if by Ctrl-C."""


def stopping(after: int):
    """Progress that stops the ladder at the step of this number, before its checkpoint is written."""

    @contextmanager
    def progress(title: str, *, total: float, unit: str = "step", done: float = 0.0) -> Iterator[Track]:
        class Counted:
            steps = 0

            def advance(self, amount: float = 1.0, **fields: object) -> None:
                self.steps += amount > 0
                if title == "ladder" and self.steps == after:
                    raise Stop

        yield Counted()

    return progress


def test_a_ladder_that_is_stopped_goes_on_to_the_same_numbers(quick, unseen, halves, tmp_path, monkeypatch):
    rungs = ("autoencoder", "vqvae")
    whole = climb(halves, tmp_path / "whole", *rungs)
    out = tmp_path / "stopped"
    monkeypatch.setattr("melies.recipes.ladder.plan.CHECKPOINT_EVERY_S", 1e-9)  # one after every step
    for after in (2, 3, 3):  # in the first rung, in the first stage of the second, and in its last
        with pytest.raises(Stop):
            climb(halves, out, *rungs, progress=stopping(after), resume=True)
    with monkeypatch.context() as patched:  # while it is measured
        patched.setattr("melies.recipes.ladder.run.measure_own", _stop)
        with pytest.raises(Stop):
            climb(halves, out, *rungs, resume=True)
    assert numbers(climb(halves, out, *rungs, resume=True)) == numbers(whole)


def _stop(*args, **fields):
    raise Stop


def test_more_rungs_may_come_later(quick, unseen, halves, tmp_path):
    first = climb(halves, tmp_path / "out", "autoencoder")
    both = climb(halves, tmp_path / "out", "autoencoder", "gan-minimax", resume=True)
    assert (tmp_path / "out" / "ladder.html").exists()
    assert list(both) == ["autoencoder", "gan-minimax"]
    assert both["autoencoder"] == first["autoencoder"]


def test_a_rung_that_fails_is_told_and_the_others_go_on(quick, unseen, halves, tmp_path, monkeypatch):
    from melies.recipes.ladder import run

    def failing(name, *args):
        if name == "gan-minimax":
            raise FloatingPointError("loss is not finite at sample 64")
        return trained(name, *args)

    trained = run.train_run
    monkeypatch.setattr(run, "train_run", failing)
    records = climb(halves, tmp_path / "out", "autoencoder", "gan-minimax")
    assert records["gan-minimax"].notes["failed"] == "loss is not finite at sample 64"
    assert records["autoencoder"].metrics
    page = (tmp_path / "out" / "ladder.html").read_text()
    assert "What failed" in page
    assert "gan-minimax: loss is not finite at sample 64" in page


def no_training(monkeypatch) -> None:
    """Nothing may be trained, not even what measures."""
    for name in ("plan.time_stage", "run.train_run", "yardstick.train_classifier"):
        monkeypatch.setattr(f"melies.recipes.ladder.{name}", _stop)


def test_what_cannot_be_climbed_is_said_before_anything_is_trained(
    quick, write_halves, halves, tmp_path, monkeypatch
):
    no_training(monkeypatch)
    (tmp_path / "empty").mkdir()
    mixed = write_halves(tmp_path / "mixed", count=3)
    Image.new("L", (16, 16)).save(mixed / "left" / "other.png")
    for data, said in (
        (tmp_path / "absent", "there is no such file or folder"),
        (tmp_path / "empty", "no pictures"),
        (write_halves(tmp_path / "one", classes=("left",)), "all pictures are of one class, 'left'"),
        (mixed, "16×16"),
        (write_halves(tmp_path / "few", count=20), "for testing are too few"),
    ):
        with pytest.raises(UserError, match=said):
            climb(data, tmp_path / "out", "vae")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_a_ladder_is_not_climbed_into(quick, halves, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "plan.json").write_text("{}")
    with pytest.raises(UserError, match=r"already holds a ladder.*--resume"):
        climb(halves, tmp_path / "out", "vae")
    with pytest.raises(UserError, match="not the plan of a ladder"):
        climb(halves, tmp_path / "out", "vae", resume=True)
