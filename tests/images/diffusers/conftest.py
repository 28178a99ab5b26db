"""Untrained pipelines of a few channels, built from configs; tokenizers of a dozen words."""

import json

import pytest
import torch

STEPS = 4
PROMPTS = ("a polar bear", "red apple")
WORDS = "a polar bear red apple in snow green leaf no blurry two three".split()


@pytest.fixture(scope="module", autouse=True)
def _quiet():
    from diffusers.utils import logging

    logging.set_verbosity_error()


def clip_tokenizer(folder):
    from transformers import CLIPTokenizer

    letters = [f"{letter}{end}" for letter in "abcdefghijklmnopqrstuvwxyz" for end in ("", "</w>")]
    names = [*letters, "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({name: at for at, name in enumerate(names)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=32)


def t5_tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {name: at for at, name in enumerate(["<pad>", "</s>", "<unk>", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", vocabulary["</s>"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )


def clip(dim=16, projected=False, **options):
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=54,
        hidden_size=dim,
        intermediate_size=dim,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=32,
        projection_dim=dim,
        bos_token_id=52,
        eos_token_id=53,
        pad_token_id=53,
        **options,
    )
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(config).eval()


def t5(dim=32):
    from transformers import T5Config, T5EncoderModel

    config = T5Config(
        vocab_size=32, d_model=dim, d_kv=8, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=0
    )
    return T5EncoderModel(config).eval()


def vae(channels=4, **options):
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(8,),
        down_block_types=("DownEncoderBlock2D",),
        up_block_types=("UpDecoderBlock2D",),
        latent_channels=channels,
        layers_per_block=1,
        norm_num_groups=2,
        sample_size=8,
        **options,
    ).eval()


def scheduler(**options):
    from diffusers import DDIMScheduler

    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        **options,
    )


def make_sd(folder):
    from diffusers import StableDiffusionPipeline, UNet2DConditionModel

    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=4,
        norm_num_groups=2,
    )
    return StableDiffusionPipeline(
        vae=vae(),
        text_encoder=clip(),
        tokenizer=clip_tokenizer(folder),
        unet=unet.eval(),
        scheduler=scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def make_sdxl(folder):
    from diffusers import StableDiffusionXLPipeline, UNet2DConditionModel

    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=4,
        norm_num_groups=2,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 16,
    )
    return StableDiffusionXLPipeline(
        vae=vae(),
        text_encoder=clip(hidden_act="gelu"),
        text_encoder_2=clip(projected=True, hidden_act="gelu"),
        tokenizer=clip_tokenizer(folder),
        tokenizer_2=clip_tokenizer(folder),
        unet=unet.eval(),
        scheduler=scheduler(),
        add_watermarker=False,
    )


def make_sd3(folder):
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline

    transformer = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=32,
        caption_projection_dim=16,
        pooled_projection_dim=32,
        pos_embed_max_size=8,
    )
    return StableDiffusion3Pipeline(
        transformer=transformer.eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=vae(shift_factor=0.06, scaling_factor=1.5, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=clip(projected=True),
        tokenizer=clip_tokenizer(folder),
        text_encoder_2=clip(projected=True),
        tokenizer_2=clip_tokenizer(folder),
        text_encoder_3=t5(),
        tokenizer_3=t5_tokenizer(),
    )


def make_flux(folder):
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=16,
        axes_dims_rope=(4, 4, 8),
    )
    return FluxPipeline(
        transformer=transformer.eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=vae(shift_factor=0.06, scaling_factor=1.5, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=clip(),
        tokenizer=clip_tokenizer(folder),
        text_encoder_2=t5(),
        tokenizer_2=t5_tokenizer(),
    )


MAKERS = {"sd": make_sd, "sdxl": make_sdxl, "sd3": make_sd3, "flux": make_flux}
_MADE = {}


@pytest.fixture(scope="session")
def pipelines(tmp_path_factory):
    """`pipelines("sd") → pipeline`, made once, with weights far from zero."""

    def made(name):
        if name not in _MADE:
            torch.manual_seed(1)
            pipe = MAKERS[name](tmp_path_factory.mktemp(name))
            network = getattr(pipe, "unet", None) or pipe.transformer
            generator = torch.Generator().manual_seed(2)
            for parameter in network.parameters():  # fresh ones hardly hear the words
                parameter.data += 0.2 * torch.randn(parameter.shape, generator=generator)
            pipe.set_progress_bar_config(disable=True)
            _MADE[name] = pipe
        return _MADE[name]

    return made


def _draw(pipe, scale=2.0, *, prompts=PROMPTS, negative="", seeds=(3, 4), **options):
    """Latents; `scale` is the pipeline's own, which guidance makes of no account."""
    flux = type(pipe).__name__ == "FluxPipeline"
    side = 16 if flux else 8
    options = {"height": side, "width": side, "num_inference_steps": STEPS, **options}
    return pipe(
        list(prompts),
        negative_prompt=[negative] * len(prompts),
        generator=[torch.Generator().manual_seed(seed) for seed in seeds],
        output_type="latent",
        **{"true_cfg_scale" if flux else "guidance_scale": scale},
        **options,
    ).images


def _guide(pipe, guidance, *, negative="", **options):
    """Latents, and the run that counts."""
    from melies.images.diffusers.wrap import guided

    with guided(pipe, guidance, negative=negative) as run:
        drawn = _draw(pipe, **options)
    return drawn, run


@pytest.fixture(scope="session")
def draw():
    """`draw(pipe, scale) → latents` of two prompts in four steps."""
    return _draw


@pytest.fixture(scope="session")
def guide():
    """`guide(pipe, guidance) → latents, run`."""
    return _guide
