"""The first part: from the autoencoder to diffusion, and what each rung is said to lack."""

from melies.recipes.claims import exact
from melies.recipes.claims.claim import Claim, Part
from melies.recipes.claims.rules import Of, above, below, best_of, every

COMMAND = "melies ladder --data digits"
OTHERS = ("autoencoder", "vae", "cvae", "vqvae", "gan-minimax", "gan", "gan-classes")

AUTOENCODER = (
    Claim(
        quote="Easy to use, simple structure, fast to train",
        test="The autoencoder sees more pictures in a second of training than the GAN and the DDPM.",
        rule=every(
            above(Of("autoencoder", "training speed"), Of("gan", "training speed")),
            above(Of("autoencoder", "training speed"), Of("ddpm", "training speed")),
        ),
        command=COMMAND,
    ),
    Claim(
        quote="Identity mapping is prone to overfit the data",
        test="It reconstructs training pictures better than unseen ones, and by more than the VAE does.",
        rule=every(
            above(Of("autoencoder", "train/test gap"), 0),
            above(Of("autoencoder", "train/test gap"), Of("vae", "train/test gap")),
        ),
        command=COMMAND,
    ),
    Claim(
        quote="non-interpolatable and non-smooth latent space",
        test="Pictures decoded halfway between the latents of two real ones are farther from real pictures"
        " than the VAE's.",
        rule=above(Of("autoencoder", "midpoint FD"), Of("vae", "midpoint FD")),
        command=COMMAND,
    ),
    Claim(
        quote="Limited capacity of generating new data",
        test="Pictures decoded from a Gaussian fitted to its latents are farther from real ones than those"
        " of the VAE.",
        rule=above(Of("autoencoder", "FD"), Of("vae", "FD")),
        command=COMMAND,
    ),
)

VAE = (
    Claim(
        quote="L_VAE = −log p(x) + D_KL(q(z|x) ‖ p(z|x)) = −E log p(x|z) + D_KL(q(z|x) ‖ p(z))",
        test="Both sides in a linear-Gaussian model, where every term has a closed form.",
        rule=exact.two_forms_of_the_bound,
        measured=False,
    ),
    Claim(
        quote="Samples from Vanilla VAE on dataset CelebA",
        test="CelebA is not at hand; with the data, `melies train celeba --data FOLDER` trains that VAE.",
        rule=None,
    ),
    Claim(
        quote="Problem with VAE: guess?",
        test="Blur: its pictures have less power at high spatial frequencies than real ones (ratio below 1).",
        rule=below(Of("vae", "high-frequency power"), 1),
        command=COMMAND,
    ),
    Claim(
        quote="under-representation of the distribution",
        test="Unseen pictures have fewer of its pictures near them than of as many training ones, and fewer"
        " than of the DDPM's.",
        rule=every(
            below(Of("vae", "coverage"), Of("vae", "coverage of training pictures")),
            below(Of("vae", "coverage"), Of("ddpm", "coverage")),
        ),
        command=COMMAND,
    ),
    Claim(
        quote="posterior collapse",
        test="Not all latent dimensions carry something at β = 1, and fewer the larger β is.",
        rule=every(
            below(Of("vae", "active share"), 1),
            below(Of("vae-beta", "active share, β = 16"), Of("vae-beta", "active share, β = 0.25")),
        ),
        command=COMMAND,
    ),
    Claim(
        quote="Gaussian prior is not realistic",
        test="Pictures decoded from the prior are farther from real ones than those decoded halfway between"
        " the encodings of two real ones, which are no reconstructions either.",
        rule=above(Of("vae", "FD"), Of("vae", "midpoint FD")),
        command=COMMAND,
    ),
    Claim(
        quote="Conditional VAE (CVAE)",
        test="An independent classifier sees the class that was asked for in at least 85 % of its pictures.",
        rule=above(Of("cvae", "conditional accuracy"), 0.85),
        command=COMMAND,
    ),
    Claim(
        quote="Vector Quantised-Variational AutoEncoder (VQVAE)",
        test="With a prior over its codes it draws more sharply than the VAE, and nearer to real pictures.",
        rule=every(
            above(Of("vqvae", "high-frequency power"), Of("vae", "high-frequency power")),
            below(Of("vqvae", "FD"), Of("vae", "FD")),
        ),
        command=COMMAND,
    ),
    Claim(
        quote="Sampled Results on ImageNet VQVAE",
        test="ImageNet is not at hand; with the data, `melies train imagenet --data FOLDER` trains such a"
        " VQ-VAE.",
        rule=None,
    ),
)

GAN = (
    Claim(
        quote="unstable training",
        test="In the minimax game one player wins: the discriminator's lead, the log-odds by which it tells a"
        " real picture from a drawn one, whose optimum is the same in both games, is wider than in the"
        " relativistic game with penalties.",
        rule=above(Of("gan-minimax", "discriminator's lead"), Of("gan", "discriminator's lead")),
        command=COMMAND,
    ),
    Claim(
        quote="mode collapse (learning data, instead of distribution)",
        test="Played as minimax it draws its rarest class less often than the relativistic game with"
        " penalties, and covers less of the data.",
        rule=every(
            below(Of("gan-minimax", "least frequent class"), Of("gan", "least frequent class")),
            below(Of("gan-minimax", "coverage"), Of("gan", "coverage")),
        ),
        command=COMMAND,
    ),
)

DIFFUSION = (
    Claim(
        quote="Better representation capacity, and learn the whole distribution.",
        test="The DDPM is nearer to real pictures than every other rung after the same minutes of training,"
        " and covers more of them.",
        rule=every(
            best_of(Of("ddpm", "FD"), OTHERS, lower=True),
            best_of(Of("ddpm", "coverage"), OTHERS, lower=False),
        ),
        command=COMMAND,
    ),
    Claim(
        quote="Original image at X_0 and pure noise at X_T",
        test="What is left of a pixel after 1,000 steps, as a divergence from the standard normal.",
        rule=exact.pure_noise,
        measured=False,
    ),
    Claim(
        quote="(“Shortcut”) Sample any step using x_0",
        test="1,000 single steps against the one-step formula, with the root over ᾱ alone.",
        rule=exact.shortcut,
        measured=False,
    ),
    Claim(
        quote="q(x_t | x_0) = N(x_t; √(ᾱ_t x_0), (1 − ᾱ_t) I)",
        test="The same with the root as it is printed.",
        rule=exact.shortcut_as_printed,
        measured=False,
    ),
    Claim(
        quote="if q(x_t | x_{t−1}) is a Gaussian with small β, then q(x_{t−1} | x_t) is also a Gaussian",
        test="The exact reverse step of a density with two peaks, against the Gaussian of its moments.",
        rule=exact.reverse_is_gaussian,
        measured=False,
    ),
    Claim(
        quote="another reason we need many steps!",
        test="The same DDPM draws farther from real pictures with 2 steps than with 32.",
        rule=above(Of("ddpm", "FD, 2 steps"), Of("ddpm", "FD, 32 steps")),
        command=COMMAND,
    ),
    Claim(
        quote="Generated samples on CelebA-HQ 256×256",
        test="CelebA-HQ is not at hand; with the data, `melies train celeba-hq --data FOLDER` trains on it,"
        " at a smaller size.",
        rule=None,
    ),
)

PART = Part(
    title="From the autoencoder to diffusion",
    source="“Generative AI in Computer Vision” (V. Kalogeiton, 2024), first part",
    records="ladder",
    claims=(*AUTOENCODER, *VAE, *GAN, *DIFFUSION),
)
