"""Bands and frames: against transformers' own, and block by block against the whole."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from melies.errors import UserError
from melies.video.spectrogram import MelConfig, count_frames, hz_of_mel, log_mel, mel_bands, mel_of_hz

CONFIGS = [
    MelConfig(),
    MelConfig(scale="slaney", area=True, low_hz=0.0, high_hz=8000.0, num_bands=80, num_fft=400),
    MelConfig(window=1024, num_fft=1024, high_hz=7800.0, power=1.0),
]


@pytest.mark.parametrize("config", CONFIGS)
def test_bands_are_those_of_transformers(config):
    from transformers.audio_utils import mel_filter_bank

    theirs = mel_filter_bank(
        num_frequency_bins=config.num_fft // 2 + 1,
        num_mel_filters=config.num_bands,
        min_frequency=config.low_hz,
        max_frequency=config.high_hz,
        sampling_rate=config.rate,
        norm="slaney" if config.area else None,
        mel_scale=config.scale,
    )
    np.testing.assert_allclose(mel_bands(config).numpy(), theirs, atol=1e-10)


@pytest.mark.parametrize("config", CONFIGS)
def test_spectrograms_are_those_of_transformers(config):
    from transformers.audio_utils import spectrogram, window_function

    samples = np.random.default_rng(0).normal(size=5000)
    theirs = spectrogram(
        samples,
        window_function(config.window, "hann", periodic=True, frame_length=config.num_fft),
        frame_length=config.num_fft,
        hop_length=config.hop,
        power=config.power,
        center=False,
        mel_filters=mel_bands(config).numpy(),
        mel_floor=0.0,
    )
    ours = log_mel(torch.from_numpy(samples), config)
    np.testing.assert_allclose(ours.exp().numpy() - config.floor, theirs.T, rtol=1e-6, atol=1e-12)


@given(hz=st.floats(0, 20_000), scale=st.sampled_from(["htk", "slaney"]))
def test_mel_and_hertz_are_inverse(hz, scale):
    assert math.isclose(hz_of_mel(mel_of_hz(hz, scale), scale), hz, rel_tol=1e-9, abs_tol=1e-9)


def test_a_tone_is_in_its_band():
    config = MelConfig(num_bands=32)
    time = torch.arange(16_000) / 16_000
    band = mel_bands(config)[round(1000 * 512 / 16_000)].argmax()
    assert (log_mel(torch.sin(2 * math.pi * 1000 * time), config).argmax(-1) == band).all()


@given(sizes=st.lists(st.integers(1, 3000), min_size=1, max_size=6), seed=st.integers(0, 99))
def test_blocks_give_the_frames_of_the_whole(sizes, seed):
    config = replace(MelConfig(), num_bands=8)
    whole = torch.randn(sum(sizes), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    kept, found = whole[:0], []
    for piece in whole.split(sizes):
        kept = torch.cat([kept, piece])
        frames = count_frames(len(kept), config)
        found.append(log_mel(kept, config))
        kept = kept[frames * config.hop :]
    torch.testing.assert_close(torch.cat(found), log_mel(whole, config), rtol=1e-9, atol=1e-9)


def test_what_is_too_short_has_no_frames():
    assert log_mel(torch.zeros(2, 100), MelConfig()).shape == (2, 0, 64)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"high_hz": 9000.0}, "bands from 60 to 9000 Hz"),
        ({"low_hz": 7900.0}, "bands from 7900"),
        ({"window": 600}, "longer than num_fft"),
        ({"hop": 0}, "hop"),
    ],
)
def test_wrong_configs(wrong, said):
    with pytest.raises(UserError, match=said):
        MelConfig(**wrong)
