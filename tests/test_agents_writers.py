"""Profiles by a language model: an endpoint that misbehaves, keys that stay secret, answers held to a form."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from prefgen.agents import Dials, history_of
from prefgen.agents.profiles import person_of, question_for, taste_of
from prefgen.agents.writers import KEY_VARIABLE, EndpointWriter, LocalWriter, written_taste
from prefgen.core import DataError, InputError, ModelError

GOOD = {"liked": {"palette": ["gold"], "medium": ["etching", "Ink "]}, "disliked": {"texture": ["glossy"]}}
KEY = "sk-very-secret"


def completion(content: object) -> bytes:
    return json.dumps({"choices": [{"message": {"content": content}}]}).encode()


class Server:
    """A chat endpoint that gives one scripted (status, body, headers) after another, the last one for ever."""

    def __init__(self, *script: tuple) -> None:
        self.script, self.asked = list(script), []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.asked.append((self.path, dict(self.headers), body))
                status, data, *rest = server.script[min(len(server.asked), len(server.script)) - 1]
                if callable(data):
                    data = data(body)
                self.send_response(status)
                for name, value in (rest[0] if rest else {}).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Server]]:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    servers: list[Server] = []

    def start(*script: tuple) -> Server:
        servers.append(Server(*script))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def writer(server: Server, waits: list[float] | None = None, **settings) -> EndpointWriter:
    return EndpointWriter(server.url + "/", "some-model", sleep=(waits if waits is not None else []).append, **settings)


def test_an_answer_becomes_a_taste_and_a_person(serve) -> None:
    server = serve((200, completion("Sure:\n```json\n" + json.dumps(GOOD) + "\n```")))
    taste = written_taste(writer(server), "agent-1", free_words=True)
    assert taste.likes == {"palette": ("gold",), "medium": ("etching", "ink")}
    assert taste.dislikes == {"texture": ("glossy",)}
    path, headers, body = server.asked[0]
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert (body["model"], len(body["messages"])) == ("some-model", 1)
    assert "agent-1" in body["messages"][0]["content"]
    person = person_of("agent-1", taste, Dials())
    assert {value for shown in history_of(person, seed_class="train") for value in shown.scene.values.values()} >= {
        "gold",
        "glossy",
    }


def test_failures_that_may_pass_are_waited_out_longer_each_time(serve) -> None:
    server = serve((503, b""), (429, b""), (200, b"not json"), (200, completion(json.dumps(GOOD))))
    waits: list[float] = []
    assert json.loads(writer(server, waits, pause_s=0.5).answer("?", 1)) == GOOD
    assert waits == [0.5, 1.0, 2.0]


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_refusals_are_not_repeated_and_tell_no_key(serve, status: int) -> None:
    server = serve((status, f"your key {KEY} is wrong".encode()))
    with pytest.raises(ModelError, match=f"status {status}") as caught:
        writer(server).answer("?", 1)
    assert len(server.asked) == 1
    assert KEY not in str(caught.value)


def test_a_redirect_does_not_carry_the_key_away(serve) -> None:
    other = serve((200, completion("{}")))
    server = serve((307, b"", {"Location": other.url + "/chat/completions"}), (302, b"", {"Location": other.url}))
    for _ in range(2):
        with pytest.raises(ModelError, match=r"status 30[27]"):
            writer(server).answer("?", 1)
    assert other.asked == []


def test_a_silent_or_absent_server_is_given_up(serve) -> None:
    stop = threading.Event()
    server = serve((200, lambda body: (stop.wait(5) and b"") or b""))
    with pytest.raises(ModelError, match="gave no answer"):
        writer(server, timeout_s=0.1, n_tries=2).answer("?", 1)
    stop.set()
    server.close = lambda: None  # type: ignore[method-assign]
    server.http.shutdown()
    server.http.server_close()
    with pytest.raises(ModelError, match="gave no answer"):
        writer(server, n_tries=2).answer("?", 1)


def test_an_endless_answer_is_cut(serve) -> None:
    server = serve((200, b"x" * (5 << 20)))
    with pytest.raises(ModelError, match="more than 4 MiB"):
        writer(server, n_tries=1).answer("?", 1)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x/v1", "localhost:8000", "http://me:secret@x/v1", ""])
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(InputError) as caught:
        EndpointWriter(url, "m")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "part"),
    [
        ("I would rather not.", "no JSON"),
        ("{" * 50, "no JSON"),
        ("{" + "[" * 900 + "}", "no JSON"),
        ('{"liked": {"palette": ["gold"]}}', "liked and disliked"),
        ({**GOOD, "extra": 1}, "liked and disliked"),
        ({"liked": {}, "disliked": {}}, "nothing is liked"),
        ({"liked": ["gold"], "disliked": {}}, "object as 'liked'"),
        ({"liked": {"palete": ["gold"]}, "disliked": {}}, "unknown family 'palete'"),
        ({"liked": {"palette": "gold"}, "disliked": {}}, "list of at most"),
        ({"liked": {"palette": ["gold"] * 13}, "disliked": {}}, "list of at most"),
        ({"liked": {"palette": [3]}, "disliked": {}}, "expected a word"),
        ({"liked": {"palette": ["x" * 61]}, "disliked": {}}, "expected a word"),
        ({"liked": {"palette": ["gold, ignore this"]}, "disliked": {}}, "expected a word"),
        ({"liked": {"palette": ["gold"]}, "disliked": {"palette": ["Gold"]}}, "'gold' is liked and disliked"),
    ],
)
def test_answers_of_another_form_are_refused(answer: object, part: str) -> None:
    with pytest.raises(DataError, match=part):
        taste_of(answer if isinstance(answer, str) else json.dumps(answer), free_words=True)


def test_without_free_words_only_the_vocabulary_is_taken() -> None:
    assert "only these words" in question_for("x", free_words=False)
    with pytest.raises(DataError, match="'etching' is no word of medium"):
        taste_of(json.dumps(GOOD), free_words=False)


def test_bad_answers_are_asked_again_with_another_seed_and_then_given_up(serve) -> None:
    server = serve((200, completion("no")), (200, completion(json.dumps(GOOD))))
    assert written_taste(writer(server), "a", free_words=True).likes["palette"] == ("gold",)
    assert server.asked[0][2]["seed"] != server.asked[1][2]["seed"]
    stubborn = serve((200, completion("no")))
    with pytest.raises(ModelError, match="no usable profile of a in 4 answers: no JSON"):
        written_taste(writer(stubborn), "a", free_words=True)
    assert len(stubborn.asked) == 4


def test_a_local_model_writes_the_same_for_the_same_seed(tmp_path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    from tiny_diffusion import tiny_tokenizer

    LlamaForCausalLM(
        LlamaConfig(
            vocab_size=514,
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            bos_token_id=512,
            eos_token_id=513,
        )
    ).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    local = LocalWriter(str(tmp_path), max_new_tokens=8)
    answers = [local.answer("a fox", seed) for seed in (1, 1, 2)]
    assert answers[0] == answers[1] != answers[2]
    with pytest.raises(ModelError, match="cannot be loaded"):
        LocalWriter(str(tmp_path / "gone"))
