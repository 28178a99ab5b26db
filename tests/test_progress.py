"""Progress: lines for a log come now and then and say how long it will take; silence is silent."""

import pytest

from melies import progress
from melies.progress import duration, lines, silent


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test moves by hand: `clock.now += 10`."""

    class Clock:
        now = 1000.0

    monkeypatch.setattr(progress.time, "monotonic", lambda: Clock.now)
    return Clock


def test_a_log_gets_a_line_now_and_then_with_speed_and_time_left(clock, capsys):
    with lines("training", total=2_000, unit="samples", done=400) as track:
        for step in range(16):
            clock.now += 10
            track.advance(100, loss=0.5 - step / 100)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines() == [
        "training: 700 of 2,000 samples, 10/s, 2.2 min left, loss 0.48",
        "training: 1,000 of 2,000 samples, 10/s, 1.7 min left, loss 0.45",
        "training: 1,300 of 2,000 samples, 10/s, 1.2 min left, loss 0.42",
        "training: 1,600 of 2,000 samples, 10/s, 40 s left, loss 0.39",
        "training: 1,900 of 2,000 samples, 10/s, 10 s left, loss 0.36",
        "training: 2,000 of 2,000 samples after 2.7 min, loss 0.35",
    ]


def test_what_is_done_in_a_moment_is_not_told(clock, capsys):
    with lines("reading", total=10, unit="pictures") as track:
        clock.now += 0.9
        track.advance(10)
    with silent("reading", total=10) as track:
        clock.now += 100
        track.advance(10)
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "")


def test_a_task_that_fails_is_not_told_as_done(clock, capsys):
    def fail():
        with lines("training", total=10) as track:
            clock.now += 31
            track.advance(1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert capsys.readouterr().err == "training: 1 of 10 step, 0.0323/s, 4.7 min left\n"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.2, "0 s"), (59.4, "59 s"), (59.9, "1.0 min"), (90, "1.5 min"), (3599, "1.0 h"), (5040, "1.4 h")],
)
def test_a_time_in_words(seconds, said):
    assert duration(seconds) == said
