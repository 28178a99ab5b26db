import math
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from melies.diffusion import GRIDS, SAMPLERS
from melies.diffusion.ddpm import alpha_bars, linear_betas
from melies.diffusion.noise import from_timesteps, karras, linear, without_zero
from melies.errors import UserError
from melies.optional import import_from


@pytest.mark.parametrize("name", GRIDS)
@given(num_steps=st.integers(1, 1200), low=st.floats(0.011, 0.5), width=st.floats(1.5, 300))
def test_every_grid_falls_from_sigma_max_to_zero(name, num_steps, low, width):
    sigmas = import_from(GRIDS[name])(num_steps, low, low * width)
    assert sigmas.shape == (num_steps + 1,)
    assert sigmas.dtype == torch.float64
    assert sigmas[0].item() == pytest.approx(low * width, rel=1e-9)
    assert sigmas[-1] == 0
    assert bool((sigmas.diff() < 0).all())
    if num_steps > 1:
        assert sigmas[-2].item() == pytest.approx(low, rel=1e-9)


def test_karras_levels_by_hand():
    sigmas = karras(3, 1.0, 128.0)
    assert sigmas.tolist() == pytest.approx([128, 1.5**7, 1, 0])
    assert linear(3, 1.0, 5.0).tolist() == [5, 3, 1, 0]


def test_from_timesteps_reads_the_table():
    alpha_bar = alpha_bars(linear_betas(1000))
    sigmas = from_timesteps(alpha_bar, torch.tensor([999, 500, 0]))
    assert sigmas[1].item() == pytest.approx(math.sqrt((1 - alpha_bar[500]) / alpha_bar[500]))
    assert sigmas[2].item() == pytest.approx(math.sqrt(1e-4 / (1 - 1e-4)))
    assert sigmas[3] == 0
    for bad in ([0, 500], [1000, 2], [3, -1]):
        with pytest.raises(ValueError, match="must fall"):
            from_timesteps(alpha_bar, torch.tensor(bad))


def test_ddpm_grid_stays_within_its_schedule():
    sigmas = import_from(GRIDS["ddpm-linear"])(10, 1e-4, 1e4)
    assert 150 < sigmas[0] < 160
    assert sigmas[-2].item() == pytest.approx(0.01, rel=1e-3)
    with pytest.raises(UserError, match="beyond"):
        import_from(GRIDS["ddpm-linear"])(10, 1e-5, 1e-4)


def test_without_zero():
    sigmas = karras(4, 0.1, 10.0)
    assert torch.equal(without_zero(sigmas), sigmas[:4])
    assert torch.equal(without_zero(sigmas[:4]), sigmas[:4])


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize(
    "bad", [(0, 0.1, 1.0), (5, 0.0, 1.0), (5, 1.0, 0.5), (5, 0.1, math.nan), (5, 0.1, math.inf)]
)
def test_bad_grids_are_refused(name, bad):
    with pytest.raises(UserError):
        import_from(GRIDS[name])(*bad)


def test_tables_need_no_torch():
    code = "import sys, melies.diffusion; assert 'torch' not in sys.modules, 'torch was loaded'"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert all(callable(import_from(path)) for path in SAMPLERS.values())
