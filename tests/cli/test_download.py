"""A text encoder that is not here: every place is told, and one option lets it be fetched."""

import pytest

COMMANDS = {
    "generate": ("generate", "a bear", "--model", "{model}"),
    "evaluate": ("evaluate", "{model}", "--data", "{data}"),
    "train": ("train", "emoji", "--text.hub", "somebody/encoder", "--codec", "{model}", "--size", "16"),
    "tune": ("train", "emoji", "--from", "{model}", "--size", "16"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_an_encoder_that_is_not_here_is_fetched_only_when_it_may_be(
    run, foreign_text, pictures, tmp_path, name
):
    words = [word.format(model=foreign_text, data=pictures) for word in COMMANDS[name]]
    data = ("--data", str(pictures)) if words[0] == "train" else ()
    done = run(*words, *data, "--quiet")
    assert done.code == 2
    for part in (
        "no weights for 'minilm'; tried the models that ship with melies (",
        f"the Hugging Face cache ({tmp_path / 'hub' / 'hub'})",
        "the hub (somebody/encoder; downloading was not allowed)",
        "run `hf download somebody/encoder` or add --allow-download",
    ):
        assert part in done.error
    allowed = run(*words, *data, "--allow-download")
    assert allowed.code == 2
    assert "downloading somebody/encoder" in allowed.err.splitlines()  # said first
    assert allowed.err.splitlines()[-1].startswith("melies: somebody/encoder: downloading failed: no network")
