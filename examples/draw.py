"""Draw a few prompts with the shipped model and save a grid: `python examples/draw.py out/`."""

import sys
from pathlib import Path

import melies
from melies.report.figure import grid

PROMPTS = ["a polar bear", "woman firefighter, dark skin tone", "a red apple"]


def main(folder: str = "out", num_steps: int = 25) -> None:
    """Two pictures of each prompt, side by side."""
    prompts = [prompt for prompt in PROMPTS for _ in range(2)]
    pictures = melies.draw("emoji", prompts, seeds=[0, 1] * len(PROMPTS), num_steps=num_steps)
    Path(folder).mkdir(parents=True, exist_ok=True)
    grid(pictures, columns=2, row_labels=PROMPTS, zoom=2).save(Path(folder) / "draw.png")


if __name__ == "__main__":
    main(*sys.argv[1:2])
