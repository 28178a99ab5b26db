"""Tiny random encoders and tokenizers, made in a temporary folder: nothing is downloaded."""

from pathlib import Path

import pytest
import torch

WORDS = "a the polar bear mechanic dark skin tone red blue cat dog very big house on hill".split()


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def no_hub(monkeypatch, tmp_path_factory):
    """An empty Hugging Face cache; the folder that stands for it."""
    home = tmp_path_factory.mktemp("hf")
    for name in ("HF_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(home))
    return home


@pytest.fixture(scope="session")
def folders(tmp_path_factory) -> dict[str, Path]:
    """One tiny model folder per kind of frozen encoder, as `save_pretrained` writes it."""
    root = tmp_path_factory.mktemp("models")
    made = {}
    for kind, build in (("minilm", _bert), ("clip", _clip), ("t5", _t5)):
        made[kind] = root / kind
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model, tokenizer = build()
        model.save_pretrained(made[kind])
        tokenizer.save_pretrained(made[kind])
    return made


def _bert():
    from transformers import BertConfig, BertModel

    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS, "##s", ","]
    config = BertConfig(
        vocab_size=len(vocab), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=24, max_position_embeddings=64,
    )  # fmt: skip
    return BertModel(config), _fast(vocab, "[PAD]", "[UNK]", start="[CLS]", end="[SEP]")


def _clip():
    from transformers import CLIPTextConfig, CLIPTextModel

    vocab = ["<start>", "<end>", "<unk>", *WORDS]
    config = CLIPTextConfig(
        vocab_size=len(vocab), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=24, max_position_embeddings=20, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    # CLIP pads with its end mark
    return CLIPTextModel(config), _fast(vocab, "<end>", "<unk>", start="<start>", end="<end>")


def _t5():
    from transformers import T5Config, T5EncoderModel

    vocab = ["<pad>", "</s>", "<unk>", *WORDS]
    config = T5Config(
        vocab_size=len(vocab), d_model=16, d_kv=8, d_ff=24, num_layers=2, num_heads=2, dropout_rate=0.1
    )
    return T5EncoderModel(config), _fast(vocab, "<pad>", "<unk>", start=None, end="</s>")


def _fast(vocab, pad, unknown, *, start, end):
    from tokenizers import Tokenizer
    from tokenizers.models import WordPiece
    from tokenizers.normalizers import Lowercase
    from tokenizers.pre_tokenizers import BertPreTokenizer
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    ids = {word: index for index, word in enumerate(vocab)}
    tokenizer = Tokenizer(WordPiece(ids, unk_token=unknown))
    tokenizer.normalizer = Lowercase()
    tokenizer.pre_tokenizer = BertPreTokenizer()
    marks = [mark for mark in (start, end) if mark]
    tokenizer.post_processor = TemplateProcessing(
        single=" ".join([start, "$A", end] if start else ["$A", end]),
        special_tokens=[(mark, ids[mark]) for mark in marks],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=pad, unk_token=unknown, eos_token=end
    )
