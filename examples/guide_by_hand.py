"""Guidance and sampling without any model: two Gaussians, whose guided mean is known exactly.

The conditional data is N(2, 1), the unconditional N(0, 1). Guidance at scale w leads to a Gaussian
of mean 0 + w·(2 − 0), which the printed means show: `python examples/guide_by_hand.py`.
"""

import torch

from melies.data.synthetic import GaussianTruth
from melies.diffusion.guidance.classifier_free import ClassifierFreeGuidance
from melies.diffusion.noise import karras
from melies.diffusion.sample import heun
from melies.interfaces import Branch, Denoiser


def exact(mean: float) -> Denoiser:
    """The best denoiser there is for N(mean, 1), which needs no condition."""
    truth = GaussianTruth(mean=torch.tensor([mean]), std=1.0)
    return lambda x, sigma, condition, *, attention=None: truth(x, sigma)


def main(num_samples: int = 4096) -> list[float]:
    """The mean of guided samples at four scales."""
    branches = {"conditional": Branch(exact(2.0), {}), "null": Branch(exact(0.0), {})}
    sigmas = karras(40, 0.01, 80.0)
    noise = torch.randn(num_samples, 1, generator=torch.Generator().manual_seed(0))
    means = []
    for scale in (0.0, 1.0, 2.0, 4.0):
        denoise = ClassifierFreeGuidance(scale=scale).bind(branches, sigmas)
        samples = heun(denoise, noise * float(sigmas[0]), sigmas)
        means.append(float(samples.mean()))
        print(f"scale {scale:g}: mean {means[-1]:.2f}, exactly {2 * scale:g}")
    return means


if __name__ == "__main__":
    main()
