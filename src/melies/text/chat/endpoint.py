"""An endpoint that speaks OpenAI's protocol for chats: `POST …/chat/completions` of JSON."""

import base64
import json
import os
import random
import time
from collections.abc import Sequence
from typing import Any

from melies.errors import UserError
from melies.optional import require
from melies.text.chat import ChatConfig, Message, Reply, identity_of

MAX_REPLY_BYTES = 8 * 2**20
"""Of what is read of an answer."""
AGAIN = (408, 409, 425, 429, 500, 502, 503, 504)
"""Statuses after which a request is made again."""
LONGEST_WAIT_S = 60.0
"""Between two tries, whatever the server asks for."""
FIRST_WAIT_S = 1.0
TOP = 20
"""Words whose likelihood the protocol tells at most."""


class Endpoint:
    """A `Chat` that is asked over HTTP."""

    def __init__(self, config: ChatConfig) -> None:
        """Nothing is asked yet.

        Raises:
            UserError: If the endpoint is no URL.
        """
        assert config.endpoint is not None
        if not config.endpoint.startswith(("http://", "https://")):
            raise UserError(f"{config.endpoint!r} is no URL", where="--endpoint", remedy="begin with http://")
        self._config = config
        self._requests = require("requests", extra="chat", why="asking an endpoint")
        self._session = self._requests.Session()
        self.identity = identity_of(config, f"{config.endpoint} {config.model}")

    def ask(self, messages: Sequence[Message]) -> Reply:
        """The next turn.

        Raises:
            UserError: If it cannot be had: the status, and what to do; never the key.
        """
        config = self._config
        body = {
            "model": config.model,
            "messages": [_written(message) for message in messages],
            "temperature": config.temperature,
            "top_p": config.top_p,
            "max_tokens": config.max_tokens,
            "seed": config.seed,
        }
        answer = self._post(body)
        try:
            choice = answer["choices"][0]
            used = answer.get("usage") or {}
            return Reply(
                text=str(choice["message"]["content"] or ""),
                prompt_tokens=int(used.get("prompt_tokens", 0)),
                completion_tokens=int(used.get("completion_tokens", 0)),
                finished=str(choice.get("finish_reason") or "stop"),
            )
        except (KeyError, IndexError, TypeError, ValueError):
            raise self._error("answers with no choice and message, as the protocol has them") from None

    def score(self, messages: Sequence[Message], options: Sequence[str]) -> tuple[float, ...] | None:
        """Log-likelihood of each option by the first word of the reply; None where the endpoint tells none.

        An option that is not among the likeliest twenty words is as unlikely as the last of them.

        Raises:
            UserError: As `ask`.
        """
        body = {
            "model": self._config.model,
            "messages": [_written(message) for message in messages],
            "temperature": 0.0,
            "max_tokens": 1,
            "logprobs": True,
            "top_logprobs": TOP,
        }
        answer = self._post(body)
        try:
            top = answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
            told = {str(one["token"]).strip(): float(one["logprob"]) for one in reversed(top)}
        except (KeyError, IndexError, TypeError, ValueError):
            return None
        if not any(option.strip() in told for option in options):
            return None
        return tuple(told.get(option.strip(), min(told.values())) for option in options)

    def _post(self, body: dict[str, Any]) -> dict[str, Any]:
        """The answer's JSON; asked again after faults that may pass."""
        config, wait = self._config, FIRST_WAIT_S
        for attempt in range(config.retries + 1):
            last = attempt == config.retries
            try:
                status, headers, text = self._once(body)
            except self._requests.RequestException as error:
                if last:
                    raise self._error(f"cannot be reached ({type(error).__name__})") from None
                status, headers, text = 0, {}, ""
            if status == 200:
                try:
                    answer = json.loads(text)
                    if isinstance(answer, dict):
                        return answer
                except ValueError:
                    pass
                if last:
                    raise self._error("answers with something that is no JSON object")
            elif status and (status not in AGAIN or last):
                raise self._refused(status, text)
            time.sleep(min(_asked_wait(headers) or wait * (0.5 + random.random()), LONGEST_WAIT_S))
            wait *= 2
        raise AssertionError  # the last attempt returns or raises

    def _once(self, body: dict[str, Any]) -> tuple[int, Any, str]:
        key = os.environ.get(self._config.key_variable, "")
        with self._session.post(
            f"{(self._config.endpoint or '').rstrip('/')}/chat/completions",
            json=body,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=self._config.timeout_s,
            stream=True,
            allow_redirects=False,
        ) as response:
            parts, size, until = [], 0, time.monotonic() + self._config.timeout_s
            for part in response.iter_content(65_536):
                size += len(part)
                if size > MAX_REPLY_BYTES:
                    raise self._error(f"answers with more than {MAX_REPLY_BYTES >> 20} MB")
                if time.monotonic() > until:  # a server that sends a byte now and then never times out
                    raise self._requests.Timeout
                parts.append(part)
            return response.status_code, response.headers, b"".join(parts).decode("utf-8", errors="replace")

    def _refused(self, status: int, text: str) -> UserError:
        variable = self._config.key_variable
        if status in (401, 403):
            there = "is refused" if os.environ.get(variable) else "is not set"
            return self._error(f"wants a key, and that in {variable} {there}", remedy=f"export {variable}=…")
        key = os.environ.get(variable, "")
        said = " ".join(text.split())[:300]
        return self._error(f"answers {status}: {said.replace(key, '…') if key else said}")

    def _error(self, what: str, *, remedy: str = "") -> UserError:
        return UserError(f"the endpoint {what}", where=self._config.endpoint or "", remedy=remedy)


def _written(message: Message) -> dict[str, Any]:
    """A message as the protocol has it."""
    if not message.pictures:
        return {"role": message.role, "content": message.text}
    parts: list[dict[str, Any]] = [{"type": "text", "text": message.text}]
    for picture in message.pictures:
        kind = "png" if picture.startswith(b"\x89PNG") else "jpeg"
        data = base64.b64encode(picture).decode()
        parts.append({"type": "image_url", "image_url": {"url": f"data:image/{kind};base64,{data}"}})
    return {"role": message.role, "content": parts}


def _asked_wait(headers: Any) -> float | None:
    """Seconds that the server asks to wait, where it does and says so in seconds."""
    try:
        return max(0.0, float(headers.get("Retry-After", "")))
    except (ValueError, TypeError):
        return None
