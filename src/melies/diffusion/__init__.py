"""Diffusion: noise levels, denoisers, losses, samplers and guidance, in one coordinate.

That coordinate is σ, with x_σ = x0 + σ·ε (Karras et al. 2022). The tables below are strings, so
that a command can list them without loading torch; `melies.optional.import_from` reads an entry.
"""

SAMPLERS = {
    "dpmpp": "melies.diffusion.sample:dpmpp",
    "heun": "melies.diffusion.sample:heun",
    "euler": "melies.diffusion.sample:euler",
    "ddim": "melies.diffusion.sample:ddim",
    "ddpm": "melies.diffusion.sample:ddpm",
}
"""Each is a `melies.interfaces.Sampler`."""

GRIDS = {
    "karras": "melies.diffusion.noise:karras",
    "linear": "melies.diffusion.noise:linear",
    "ddpm-linear": "melies.diffusion.noise:ddpm_linear",
    "ddpm-cosine": "melies.diffusion.noise:ddpm_cosine",
}
"""Each is `(num_steps, sigma_min, sigma_max) → sigmas (num_steps + 1,)`, falling, ending in exactly 0."""

SCHEDULES = {
    "static": "melies.diffusion.guidance.named:static",
    "linear": "melies.diffusion.guidance.named:linear",
    "invlinear": "melies.diffusion.guidance.named:invlinear",
    "cosine": "melies.diffusion.guidance.named:cosine",
    "sine": "melies.diffusion.guidance.named:sine",
    "v": "melies.diffusion.guidance.named:v",
    "lambda": "melies.diffusion.guidance.named:lambda_",
    "clamp-linear": "melies.diffusion.guidance.named:clamp_linear",
    "clamp-cosine": "melies.diffusion.guidance.named:clamp_cosine",
    "pcs": "melies.diffusion.guidance.named:pcs",
    "one-liner": "melies.diffusion.guidance.named:one_liner",
}
"""Each is `(omega[, parameter]) → curve` of guidance weights over a run, as written."""

METHODS = {
    "plain": "melies.diffusion.guidance.methods:plain",
    "plus-plus": "melies.diffusion.guidance.methods:plus_plus",
    "zero-star": "melies.diffusion.guidance.methods:zero_star",
    "projected": "melies.diffusion.guidance.methods:projected",
    "rescaled": "melies.diffusion.guidance.methods:rescaled",
    "frequency": "melies.diffusion.guidance.methods:frequency",
    "perturbed": "melies.diffusion.guidance.methods:perturbed",
    "smoothed": "melies.diffusion.guidance.methods:smoothed",
    "autoguidance": "melies.diffusion.guidance.methods:autoguidance",
    "signed": "melies.diffusion.guidance.methods:signed",
    "perpendicular": "melies.diffusion.guidance.methods:perpendicular",
    "windowed": "melies.diffusion.guidance.methods:windowed",
    "classifier": "melies.diffusion.guidance.methods:classifier",
    "classifier-mean-shift": "melies.diffusion.guidance.methods:classifier_mean_shift",
}
"""Each is `(scale[, parameter]) → guidance`."""

NEEDS = {
    "signed": "negative",
    "perpendicular": "negative",
    "windowed": "negative",
    "autoguidance": "weak",
    "classifier": "classifier",
    "classifier-mean-shift": "classifier",
}
"""The methods that need a branch beside the condition and its null, and which."""
