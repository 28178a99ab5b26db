"""Models are asked as the protocol says, whatever the server does; nothing is asked or paid for twice."""

import json
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from melies.errors import UserError
from melies.text.chat import CachedChat, ChatConfig, Message, Reply, endpoint, open_chat
from melies.text.chat.local import LocalChat

ASKED = [Message("system", "Be short."), Message("user", "How are you?")]
SECRET = "sk-not-to-be-seen"


def good(text="Fine.", **more):
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop", **more}
    return 200, json.dumps({"choices": [choice], "usage": {"prompt_tokens": 7, "completion_tokens": 2}})


@pytest.fixture
def server(monkeypatch):
    """`server(answers) → (config, requests)`: an endpoint that gives the answers in turn, then the last."""
    monkeypatch.setattr(endpoint, "FIRST_WAIT_S", 0.001)
    running = []

    def start(*answers, headers=None):
        seen = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                seen.append((self.path, self.headers.get("Authorization"), json.loads(body)))
                status, text = answers[min(len(seen), len(answers)) - 1]
                if status == 0:
                    self.connection.close()
                    return
                self.send_response(status)
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text.encode() if isinstance(text, str) else text)

            def log_message(self, *_):
                pass

        running.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=running[-1].serve_forever, daemon=True).start()
        port = running[-1].server_address[1]
        return ChatConfig(model="tiny", endpoint=f"http://127.0.0.1:{port}/v1", retries=3, timeout_s=10), seen

    yield start
    for one in running:
        one.shutdown()
        one.server_close()


def test_a_question_is_sent_as_the_protocol_has_it(server, monkeypatch):
    monkeypatch.setenv("MELIES_CHAT_KEY", SECRET)
    config, seen = server(good())
    picture = b"\x89PNG and so on"
    reply = open_chat(config).ask([*ASKED, Message("user", "And this?", (picture,))])
    assert reply == Reply("Fine.", 7, 2)
    path, key, body = seen[0]
    assert (path, key, body["model"]) == ("/v1/chat/completions", f"Bearer {SECRET}", "tiny")
    assert body["messages"][0] == {"role": "system", "content": "Be short."}
    shown = body["messages"][2]["content"][1]["image_url"]["url"]
    assert shown.startswith("data:image/png;base64,iVBORyBhbmQ")


@pytest.mark.parametrize(
    "fault", [(429, "slow down"), (503, "busy"), (500, ""), (200, "{"), (200, "[]"), (0, "")], ids=str
)
def test_faults_that_pass_are_waited_for(server, fault):
    config, seen = server(fault, fault, good())
    assert open_chat(config).ask(ASKED).text == "Fine."
    assert len(seen) == 3


def test_the_server_says_how_long_to_wait(server, monkeypatch):
    waited = []
    monkeypatch.setattr(endpoint.time, "sleep", waited.append)
    config, _ = server((429, ""), good(), headers={"Retry-After": "7"})
    open_chat(config).ask(ASKED)
    assert waited == [7.0]


@pytest.mark.parametrize(
    ("answer", "count", "message"),
    [
        ((500, "broken"), 4, "answers 500: broken"),
        ((404, "no such model"), 1, "answers 404: no such model"),
        ((400, f"bad {SECRET}"), 1, "answers 400: bad …"),
        ((401, ""), 1, "wants a key, and that in MELIES_CHAT_KEY is refused"),
        ((200, "no json"), 4, "no JSON object"),
        ((200, '{"choices": []}'), 1, "no choice and message"),
        ((200, b"x" * (9 * 2**20)), 1, "more than 8 MB"),
    ],
)
def test_faults_that_stay_are_one_sentence_without_the_key(server, monkeypatch, answer, count, message):
    monkeypatch.setenv("MELIES_CHAT_KEY", SECRET)
    config, seen = server(answer)
    with pytest.raises(UserError) as found:
        open_chat(config).ask(ASKED)
    assert message in str(found.value)
    assert SECRET not in str(found.value)
    assert len(seen) == count


def test_an_endpoint_that_is_down_is_said_to_be(monkeypatch):
    monkeypatch.setattr(endpoint, "FIRST_WAIT_S", 0.001)
    config = ChatConfig(model="tiny", endpoint="http://127.0.0.1:9", retries=1)
    with pytest.raises(UserError, match="cannot be reached"):
        open_chat(config).ask(ASKED)
    with pytest.raises(UserError, match="no URL"):
        open_chat(replace(config, endpoint="127.0.0.1"))
    with pytest.raises(UserError, match="no model is named"):
        open_chat(ChatConfig())


def test_what_was_asked_is_not_asked_again_and_a_limit_holds(server, tmp_path):
    config, seen = server(good())
    config = replace(config, cache=tmp_path / "cache", most_tokens=10)
    chat = open_chat(config)
    assert not chat.ask(ASKED).cached
    assert open_chat(config).ask(ASKED) == Reply("Fine.", 7, 2, "stop", True)
    assert chat.ask([Message("user", "x")]).text == "Fine."
    with pytest.raises(UserError, match="18 tokens are used"):
        chat.ask([Message("user", "y")])
    assert chat.ask(ASKED).cached
    assert len(seen) == 2
    open_chat(replace(config, temperature=1.0)).ask(ASKED)
    assert len(seen) == 3
    for file in (tmp_path / "cache").rglob("*.json"):
        file.write_text("{")
    assert not open_chat(config).ask(ASKED).cached


def test_several_are_asked_at_once_and_one_fault_is_its_own(server):
    class Picky:
        identity = "picky"

        def score(self, messages, options):
            return None

        def ask(self, messages):
            if messages[0].text == "2":
                raise UserError("not two")
            return Reply(messages[0].text, 1, 1)

    chat = CachedChat(Picky(), ChatConfig(at_once=3))
    found = chat.ask_all([[Message("user", str(number))] for number in range(5)])
    assert [one.text if isinstance(one, Reply) else str(one) for one in found] == [
        "0",
        "1",
        "not two",
        "3",
        "4",
    ]
    assert chat.completion_tokens == 4


def test_options_are_scored_by_the_first_word(server):
    top = [{"token": " B", "logprob": -0.1}, {"token": "A", "logprob": -3.0}, {"token": "x", "logprob": -4.0}]
    config, seen = server(good("B", logprobs={"content": [{"top_logprobs": top}]}), good("B"))
    chat = open_chat(config)
    assert chat.score(ASKED, ["A", "B", "C"]) == (-3.0, -0.1, -4.0)
    assert seen[0][2]["top_logprobs"] == 20
    assert chat.score(ASKED, ["A", "B", "C"]) is None


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A language model of a few hundred weights."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = "system user assistant : Be short . How are you ? A B C Fine".split()
    vocabulary = {name: at for at, name in enumerate(["<unk>", "</s>", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(vocabulary),
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=64,
            eos_token_id=1,
        )
    )
    folder = tmp_path_factory.mktemp("model")
    model.save_pretrained(folder, safe_serialization=True)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="</s>").save_pretrained(
        folder
    )
    return folder


def test_a_local_model_answers_and_scores_options(folder):
    config = ChatConfig(model=str(folder), max_tokens=5)
    chat = LocalChat(config)
    reply = chat.ask(ASKED)
    assert 1 <= reply.completion_tokens <= 5
    assert chat.ask(ASKED) == reply
    drawn = [LocalChat(replace(config, temperature=2.0, seed=seed)).ask(ASKED).text for seed in (1, 1, 2, 3)]
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) > 1
    scores = chat.score(ASKED, ["A", "B", "A B"])
    # by the chain rule: of two tokens the second is the likelihood after the first
    ids = chat._tokens(ASKED)
    extended = torch.cat([ids, torch.tensor([[chat._tokenizer.convert_tokens_to_ids("A")]])], 1)
    after = chat._model(extended).logits[0, -1].log_softmax(-1)[chat._tokenizer.convert_tokens_to_ids("B")]
    assert scores[2] == pytest.approx(scores[0] + after.item(), abs=1e-4)


def test_what_a_local_model_cannot_read_is_refused(folder, tmp_path):
    chat = LocalChat(ChatConfig(model=str(folder), max_tokens=60))
    with pytest.raises(UserError, match="it reads 64"):
        chat.ask(ASKED)
    with pytest.raises(UserError, match="reads no pictures"):
        chat.ask([Message("user", "?", (b"\x89PNG",))])
    with pytest.raises(UserError, match="no such folder"):
        open_chat(ChatConfig(model=str(tmp_path / "nowhere")))
    with pytest.raises(UserError, match="no safetensors"):
        open_chat(ChatConfig(model=str(tmp_path)))
