"""The CLIP score against transformers itself, on a tiny CLIP with random weights."""

import json

import pytest
import torch

from melies.errors import UserError
from melies.images.clip_score import find_clip
from melies.images.networks import CLIP_STATISTICS, resized, standardised

TEXTS = ["a cat", "a dog", "a cat"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

    root = tmp_path_factory.mktemp("clip")
    letters = [*"abcdefghijklmnopqrstuvwxyz"]
    vocabulary = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (root / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(vocabulary)}))
    (root / "merges.txt").write_text("#version: 0.2\n")
    CLIPTokenizer(str(root / "vocab.json"), str(root / "merges.txt")).save_pretrained(root)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    text = {**sizes, "vocab_size": len(vocabulary), "max_position_embeddings": 12, "eos_token_id": 53}
    vision = {**sizes, "image_size": 32, "patch_size": 16}
    torch.manual_seed(0)
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=12)).save_pretrained(root)
    return root


def test_it_is_the_cosine_of_transformers(folder):
    from transformers import CLIPModel, CLIPTokenizer

    pixels = torch.randint(256, (3, 3, 16, 16), dtype=torch.uint8)
    scorer = find_clip(str(folder))
    found = scorer(pixels, TEXTS)
    model = CLIPModel.from_pretrained(folder).eval()
    read = CLIPTokenizer.from_pretrained(folder)(TEXTS, padding=True, return_tensors="pt")
    x = standardised(resized(pixels, 32), *CLIP_STATISTICS)
    with torch.no_grad():
        output = model(**read, pixel_values=x)
    cosines = (output.image_embeds * output.text_embeds).sum(1)
    assert (cosines > 0).any()
    torch.testing.assert_close(found.float(), (100 * cosines).clamp(min=0), rtol=1e-4, atol=1e-4)
    assert scorer.name.startswith("clip@")
    with pytest.raises(ValueError, match="2 texts for 3 pictures"):
        scorer(pixels, TEXTS[:2])


def test_it_is_left_out_where_it_is_not_and_named_where_it_is_wanted(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    assert find_clip(None) is None
    with pytest.raises(UserError, match="no weights for 'clip'"):
        find_clip("hf:nobody/nothing")
    with pytest.raises(UserError, match="no such file or folder"):
        find_clip(str(tmp_path / "absent"))
