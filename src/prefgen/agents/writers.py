"""Who writes profiles: a server that speaks OpenAI's chat protocol, at an address the user gives, or a local model.

The key comes from the environment alone and goes into one header; no message, log or file of ours holds it.
"""

from __future__ import annotations

import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import urlsplit

from prefgen.agents.people import Taste
from prefgen.agents.profiles import question_for, taste_of
from prefgen.core import DataError, InputError, ModelError, seed_of

KEY_VARIABLE = "PREFGEN_LLM_API_KEY"
_MAX_ANSWER_BYTES = 4 << 20
_WORTH_ANOTHER_TRY = frozenset({408, 409, 429, 500, 502, 503, 504})


class Writer(Protocol):
    """Answers a question; another `seed`, another answer."""

    def describe(self) -> dict[str, object]:
        """Which model, as JSON, without secrets."""
        ...

    def answer(self, question: str, seed: int) -> str:
        """The text of an answer. Raises `ModelError` if there will be none."""
        ...


def written_taste(writer: Writer, identity: str, *, free_words: bool, n_tries: int = 4) -> Taste:
    """A person's taste as the writer invents it, asked again (another seed) while answers are not what was asked for.

    Raises:
        ModelError: after `n_tries` answers none was of the form; the last complaint is told.
    """
    question, complaint = question_for(identity, free_words=free_words), ""
    for turn in range(n_tries):
        try:
            return taste_of(writer.answer(question, seed_of("profile", identity, turn) % 2**31), free_words=free_words)
        except DataError as error:
            complaint = error.message
    raise ModelError(
        f"no usable profile of {identity} in {n_tries} answers: {complaint}",
        hint="try a larger model, or one that can be held to JSON",
    )


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the key to an address nobody gave."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        return None


class EndpointWriter:
    """A chat endpoint, `URL/chat/completions`. `sleep` waits between tries (doubling from `pause_s`)."""

    def __init__(
        self,
        url: str,
        model: str,
        *,
        timeout_s: float = 60.0,
        n_tries: int = 5,
        pause_s: float = 1.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
            raise InputError(
                "expected an address such as http://127.0.0.1:8000/v1 as the endpoint, without user or password",
                hint=f"a key goes into the environment variable {KEY_VARIABLE}",
            )
        self.url, self.model = url.rstrip("/"), model
        self.timeout_s, self.n_tries, self.pause_s, self.sleep = timeout_s, n_tries, pause_s, sleep
        self._opener = urllib.request.build_opener(_NoRedirect)

    def describe(self) -> dict[str, object]:
        """The model's name; where it ran is not part of the data."""
        return {"writer": "endpoint", "model": self.model}

    def answer(self, question: str, seed: int) -> str:
        """Asks until there is an answer; waits longer after each failure that may pass.

        Raises:
            ModelError: the server refuses, cannot be reached, or does not speak the protocol.
        """
        told = ""
        for turn in range(self.n_tries):
            if turn:
                self.sleep(self.pause_s * 2 ** (turn - 1))
            try:
                return _content(self._ask(question, seed))
            except urllib.error.HTTPError as error:
                error.close()
                told = f"status {error.code}"
                if error.code not in _WORTH_ANOTHER_TRY:
                    break
            except (urllib.error.URLError, http.client.HTTPException, OSError, DataError) as error:
                told = self._without_key(str(getattr(error, "reason", error)))
        raise ModelError(
            f"the endpoint gave no answer: {told}", hint=f"check the address, the model, and {KEY_VARIABLE}"
        )

    def _ask(self, question: str, seed: int) -> bytes:
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": question}],
            "seed": seed,
            "temperature": 1.0,
            "response_format": {"type": "json_object"},
        }
        headers = {"Content-Type": "application/json"}
        key = os.environ.get(KEY_VARIABLE, "")
        if key:
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(f"{self.url}/chat/completions", json.dumps(body).encode(), headers)
        with self._opener.open(request, timeout=self.timeout_s) as response:
            data = response.read(_MAX_ANSWER_BYTES + 1)
        if len(data) > _MAX_ANSWER_BYTES:
            raise DataError("an answer of more than 4 MiB")
        return data

    def _without_key(self, text: str) -> str:
        key = os.environ.get(KEY_VARIABLE, "")
        return text.replace(key, "***") if key else text


def _content(data: bytes) -> str:
    try:
        content = json.loads(data.decode("utf-8"))["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise DataError("not a chat completion") from error
    if not isinstance(content, str):
        raise DataError("a chat completion without text")
    return content


class LocalWriter:
    """A causal language model of transformers, from a folder or a hub name; safetensors only, no code of its own."""

    def __init__(self, name: str, *, device: str = "cpu", max_new_tokens: int = 400) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(name)
            model: Any = AutoModelForCausalLM.from_pretrained(name, use_safetensors=True)
            self.model = model.to(device).eval()
        except (OSError, ValueError) as error:
            raise ModelError(f"{name} cannot be loaded as a language model: {str(error).splitlines()[0]}") from error
        self.name, self.max_new_tokens = name, max_new_tokens

    def describe(self) -> dict[str, object]:
        """The model's name."""
        return {"writer": "local", "model": self.name.rstrip("/").rsplit("/", 1)[-1]}

    def answer(self, question: str, seed: int) -> str:
        """Samples an answer; the same seed gives the same one on one machine."""
        import torch

        text = question
        if self.tokenizer.chat_template:
            said = [{"role": "user", "content": question}]
            text = self.tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=True)
        asked = self.tokenizer(text, return_tensors="pt", truncation=True).to(self.model.device)
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(seed)
            tokens = self.model.generate(**asked, do_sample=True, max_new_tokens=self.max_new_tokens)
        return self.tokenizer.decode(tokens[0, asked["input_ids"].shape[1] :], skip_special_tokens=True)
