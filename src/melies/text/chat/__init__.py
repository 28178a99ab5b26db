"""Asking language models: an endpoint that speaks OpenAI's protocol, or a model on this machine.

Whatever it is, it is called with messages and gives a `Reply`; what was asked before with the same settings
comes out of a cache. No endpoint and no key is in the code: one is an option, the other an environment
variable whose name is one.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import Annotated, Any, Literal, NamedTuple, Protocol, runtime_checkable

from tyro.conf import arg

from melies.config import check_positive, check_range
from melies.errors import UserError
from melies.files import write_text
from melies.progress import Progress, silent

MAX_PICTURE_BYTES = 20 * 2**20
"""Of one picture in a message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatConfig:
    """Which model, and how it is asked."""

    model: Annotated[str, arg(metavar="NAME")] = ""
    """What the endpoint calls it, or a folder with a model of transformers."""
    endpoint: Annotated[str | None, arg(metavar="URL")] = None
    """Where it is asked, version and all, as in http://127.0.0.1:8000/v1; none: on this machine."""
    key_variable: Annotated[str, arg(metavar="NAME")] = "MELIES_CHAT_KEY"
    """Environment variable with the endpoint's key, if it wants one."""
    temperature: float = 0.0
    """How much replies vary; 0 takes the likeliest word each time."""
    top_p: float = 1.0
    """Share of likelihood that words are drawn from."""
    max_tokens: int = 512
    """Longest reply."""
    seed: int = 0
    """Of what is drawn, where the model heeds it."""
    timeout_s: float = 120.0
    """Seconds after which a request is given up."""
    retries: int = 5
    """How often a request is made again after 429 or a fault of the server, after longer and longer waits."""
    at_once: int = 4
    """Requests at a time."""
    most_tokens: int = 0
    """Tokens, of questions and replies, after which nothing more is asked; 0: no end."""
    cache: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """Where replies are kept."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("max_tokens", "timeout_s", "at_once"):
            check_positive(name, getattr(self, name))
        for name in ("temperature", "retries", "most_tokens"):
            check_range(name, getattr(self, name), low=0)
        if not 0 < self.top_p <= 1:
            raise UserError(f"top_p = {self.top_p} is no share above 0")


class Message(NamedTuple):
    """One turn."""

    role: Literal["system", "user", "assistant"]
    text: str
    pictures: tuple[bytes, ...] = ()
    """PNG or JPEG."""


class Reply(NamedTuple):
    """What a model says."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    finished: str = "stop"
    """Why it ended: `stop`, or `length` where it was cut off."""
    cached: bool = False


@runtime_checkable
class Chat(Protocol):
    """A model that can be asked."""

    identity: str
    """Everything that a reply depends on besides the messages, as one line."""

    def ask(self, messages: Sequence[Message]) -> Reply:
        """The next turn."""
        ...

    def score(self, messages: Sequence[Message], options: Sequence[str]) -> tuple[float, ...] | None:
        """Log-likelihood (nats) of each option as the next turn's beginning; None where it cannot be had."""
        ...


def open_chat(config: ChatConfig, *, say: Callable[[str], None] = lambda line: None) -> "CachedChat":
    """The model that a config names, behind its cache.

    Raises:
        UserError: If there is no such model, or a package that it needs is missing.
    """
    if not config.model:
        raise UserError("no model is named", remedy="give one with --model")
    if config.endpoint is not None:
        from melies.text.chat.endpoint import Endpoint

        return CachedChat(Endpoint(config), config)
    from melies.text.chat.local import LocalChat

    return CachedChat(LocalChat(config, say=say), config)


class CachedChat:
    """Asks what it has not asked before, and counts what it costs."""

    def __init__(self, chat: Chat, config: ChatConfig) -> None:
        """Put a cache and a limit before a model."""
        self._chat, self._config, self._lock = chat, config, Lock()
        self.identity = chat.identity
        self.prompt_tokens = 0
        """Of what was really asked."""
        self.completion_tokens = 0

    def ask(self, messages: Sequence[Message]) -> Reply:
        """The next turn, out of the cache where it is there.

        Raises:
            UserError: If the limit of tokens is reached, a picture is too large, or nobody answers.
        """
        for picture in (picture for message in messages for picture in message.pictures):
            if len(picture) > MAX_PICTURE_BYTES:
                raise UserError(f"a picture of {len(picture) >> 20} MB", remedy="make it smaller")
        file = self._file(messages)
        kept = _read(file)
        if kept is not None:
            return kept
        with self._lock:
            used = self.prompt_tokens + self.completion_tokens
        if self._config.most_tokens and used >= self._config.most_tokens:
            raise UserError(f"{used:,} tokens are used, and no more are to be", remedy="raise --most-tokens")
        reply = self._chat.ask(messages)
        with self._lock:
            self.prompt_tokens += reply.prompt_tokens
            self.completion_tokens += reply.completion_tokens
        if file is not None:
            write_text(file, json.dumps(reply._asdict()) + "\n")
        return reply

    def score(self, messages: Sequence[Message], options: Sequence[str]) -> tuple[float, ...] | None:
        """As of `Chat.score`; not cached."""
        return self._chat.score(messages, options)

    def ask_all(
        self, conversations: Sequence[Sequence[Message]], *, progress: Progress = silent
    ) -> list[Reply | UserError]:
        """The next turn of each, several at a time, in their order; what cannot be had is its error."""

        def one(messages: Sequence[Message]) -> Reply | UserError:
            try:
                return self.ask(messages)
            except UserError as error:
                return error

        found = []
        with (
            ThreadPoolExecutor(self._config.at_once) as pool,
            progress("asking", total=len(conversations), unit="replies") as track,
        ):
            for reply in pool.map(one, conversations):
                found.append(reply)
                track.advance(1)
        return found

    def _file(self, messages: Sequence[Message]) -> Path | None:
        if self._config.cache is None:
            return None
        told = [
            (one.role, one.text, [hashlib.sha256(picture).hexdigest() for picture in one.pictures])
            for one in messages
        ]
        name = hashlib.sha256(json.dumps([self.identity, told]).encode()).hexdigest()
        return self._config.cache / name[:2] / f"{name[2:]}.json"


def identity_of(config: ChatConfig, model: str) -> str:
    """What replies of a model depend on."""
    decides = ("temperature", "top_p", "max_tokens", "seed")
    return json.dumps({"model": model, **{name: asdict(config)[name] for name in decides}}, sort_keys=True)


def _read(file: Path | None) -> Reply | None:
    """A reply that was kept; None where there is none, or it is damaged."""
    if file is None:
        return None
    try:
        kept: Any = json.loads(file.read_text(encoding="utf-8"))
        return Reply(**{**kept, "cached": True})
    except (OSError, ValueError, TypeError):
        return None
