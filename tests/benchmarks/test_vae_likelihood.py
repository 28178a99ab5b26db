"""The comparison of likelihoods trains both sides alike, and measures them by one bound."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def pictures(tmp_path) -> Path:
    """Halves that are black or white, which is two bits of information, in two parts."""
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        (tmp_path / "set" / part).mkdir(parents=True)
        for index in range(32):
            level = 255 * rng.integers(0, 2, (1, 2)).repeat(4, 1).repeat(8, 0)
            Image.fromarray(level.astype(np.uint8)).save(tmp_path / "set" / part / f"{index}.png")
    return tmp_path / "set"


@pytest.mark.parity
def test_both_sides_come_to_the_same_and_the_bound_is_that_of_pythae(pictures, tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.quality import vae_likelihood
    from benchmarks.ratio.vae import import_peer

    from melies.errors import UserError
    from melies.report.record import read_record

    try:
        import_peer()
    except UserError as error:
        pytest.skip(str(error))
    out = tmp_path / "record.json"
    small = "size 8 widths 8 hidden 16 latent-dim 3".split()
    network = [w for k, v in zip(small[::2], small[1::2], strict=True) for w in (f"--model.network.{k}", v)]
    run = ["--data", str(pictures), "--samples", "1280", "--batch", "8", "--learning-rate", "0.01"]
    measure = ["--test", "8", "--draws", "50", "--threads", "1", "--out", str(out)]
    assert vae_likelihood.main([*run, *measure, *network]) == 0
    record = read_record(out)
    ours, theirs = (record.metric(f"{side}, nll, K = 50").value for side in ("ours", "pythae"))
    difference = record.metric("nll, ours − pythae")
    assert difference.value == pytest.approx(ours - theirs)
    assert max(ours, theirs) < 8  # an untrained one needs 44
    assert abs(difference.value) < 2
    assert difference.interval[0] < difference.value < difference.interval[1]
    assert "ours: 0 of 1,280 pictures" in capsys.readouterr().out
    with pytest.raises(UserError, match="black and white pictures without classes"):
        vae_likelihood.LikelihoodConfig(model=vae_likelihood.VAEConfig())
