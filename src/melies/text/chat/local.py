"""A language model of transformers on this machine, asked as an endpoint is."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from melies.errors import UserError
from melies.optional import import_from
from melies.text.chat import ChatConfig, Message, Reply, identity_of
from melies.text.weights import loading, weights_sha256

PLAIN = "{role}: {text}\n"
"""How turns are written for a model without a template of its own."""


class LocalChat:
    """A `Chat` by a causal language model in a folder; safetensors only, and no code out of the folder."""

    def __init__(self, config: ChatConfig, *, say: Callable[[str], None] = lambda line: None) -> None:
        """Load the model.

        Raises:
            UserError: If there is no such folder, it has no safetensors, or it is damaged.
        """
        folder = Path(config.model).expanduser()
        if not folder.is_dir():
            raise UserError(
                "there is no such folder", where=config.model, remedy="give a folder, or --endpoint"
            )
        if not any(folder.glob("*.safetensors")):
            raise UserError(
                "the folder has no safetensors", where=str(folder), remedy="pickles are not loaded"
            )
        say(f"loading the language model in {folder.name}")
        with loading("transformers:AutoModelForCausalLM", folder):
            options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
            self._tokenizer = import_from("transformers:AutoTokenizer").from_pretrained(folder, **options)
            self._model = import_from("transformers:AutoModelForCausalLM").from_pretrained(
                folder, use_safetensors=True, **options
            )
        self._model.eval().to("cuda" if torch.cuda.is_available() else "cpu")
        self._config = config
        self.identity = identity_of(config, weights_sha256(folder))

    @torch.no_grad()
    def ask(self, messages: Sequence[Message]) -> Reply:
        """The next turn.

        Raises:
            UserError: If a message has pictures, or is longer than the model reads.
        """
        config, ids = self._config, self._tokens(messages)
        drawn: dict[str, Any] = {"do_sample": False}
        if config.temperature > 0:
            drawn = {"do_sample": True, "temperature": config.temperature, "top_p": config.top_p}
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            found = self._model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=config.max_tokens,
                pad_token_id=self._tokenizer.pad_token_id or self._tokenizer.eos_token_id or 0,
                **drawn,
            )[0, ids.shape[1] :]
        text = self._tokenizer.decode(found, skip_special_tokens=True)
        cut = len(found) >= config.max_tokens and int(found[-1]) != self._tokenizer.eos_token_id
        return Reply(text.strip(), ids.shape[1], len(found), "length" if cut else "stop")

    @torch.no_grad()
    def score(self, messages: Sequence[Message], options: Sequence[str]) -> tuple[float, ...]:
        """Log-likelihood of each option as the whole of the next turn, summed over its tokens.

        Raises:
            UserError: As `ask`, or if an option is empty.
        """
        ids, scores = self._tokens(messages), []
        for option in options:
            own = self._tokenizer(option, add_special_tokens=False, return_tensors="pt").input_ids.to(ids)
            if not own.numel():
                raise UserError("an option is empty")
            logits = self._model(torch.cat([ids, own.long()], dim=1)).logits[0, ids.shape[1] - 1 : -1]
            scores.append(float(logits.float().log_softmax(-1).gather(1, own.long().T).sum()))
        return tuple(scores)

    def _tokens(self, messages: Sequence[Message]) -> torch.Tensor:
        if any(message.pictures for message in messages):
            raise UserError(
                "this model reads no pictures", where=self._config.model, remedy="give --endpoint"
            )
        turns = [{"role": message.role, "content": message.text} for message in messages]
        if self._tokenizer.chat_template:
            text = self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        else:
            text = (
                "".join(PLAIN.format(role=one["role"], text=one["content"]) for one in turns) + "assistant:"
            )
        ids = self._tokenizer(text, return_tensors="pt", add_special_tokens=False).input_ids
        most = getattr(self._model.config, "max_position_embeddings", None)
        if most is not None and ids.shape[1] + self._config.max_tokens > most:
            raise UserError(
                f"{ids.shape[1]} tokens and a reply of {self._config.max_tokens}: it reads {most}",
                where=self._config.model,
                remedy="ask less, or lower --max-tokens",
            )
        return ids.to(self._model.device)
