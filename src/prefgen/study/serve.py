"""A study in the browser: one page, its pictures, a rater's questions, and a place to put answers.

The server never opens `key.json`: what it does not know it cannot tell. Addresses are looked up in tables, so no path
that a browser sends reaches the disk.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import json
import logging
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from socketserver import TCPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from prefgen.core import InputError, numpy_rng
from prefgen.study.answers import append_answer, checked_answer, choices_of, rater_name, read_answers
from prefgen.study.records import PICTURES, Question, Study, read_study

log = logging.getLogger(__name__)
MAX_BODY_BYTES, MAX_DRAINED_BYTES, TIMEOUT_S = 4096, 2**20, 20


class _Refused(Exception):
    """A request that is not answered as it was meant."""

    def __init__(self, status: HTTPStatus, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.hint = status, message, hint


@dataclass(frozen=True, kw_only=True)
class _Body:
    """What is sent back."""

    kind: str
    data: bytes
    lasts: bool = False


def order_of(study: Study, rater: str) -> list[Question]:
    """The questions in a rater's own order: blocks in a random order, and so within each. The same whenever they
    return.
    """
    rng = numpy_rng("study order", study.id, rater)
    blocks: dict[int, list[Question]] = {}
    for question in study.questions:
        blocks.setdefault(question.block, []).append(question)
    parts = [blocks[block] for block in sorted(blocks)]
    return [parts[int(b)][int(k)] for b in rng.permutation(len(parts)) for k in rng.permutation(len(parts[int(b)]))]


def study_server(folder: Path, *, host: str = "127.0.0.1", port: int = 0) -> _Server:
    """A server of the study in `folder`, bound but not yet serving; `server_address` tells the port taken for 0.

    Raises:
        DataError: there is no study, or it or its answers are damaged.
        InputError: host and port cannot be had.
    """
    if not host.strip():
        raise InputError("expected an address to listen at, got an empty text", hint="--host 127.0.0.1")
    study = read_study(folder)
    read_answers(folder, study)
    try:
        return _Server(host, port, _Site(folder=folder, study=study, host=host))
    except (OSError, OverflowError, UnicodeError) as error:
        raise InputError(
            f"expected a free address, got {host}:{port}: {error}", hint="--port 0 takes a free port"
        ) from error


def address_of(server: ThreadingHTTPServer) -> str:
    """The page's address, as a browser takes it."""
    host, port = str(server.server_address[0]), server.server_address[1]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


class _Site:
    """What is served, and the checks of what is sent."""

    def __init__(self, *, folder: Path, study: Study, host: str) -> None:
        self.folder, self.study, self.host = folder, study, host
        page = files("prefgen.study").joinpath("page.html").read_text(encoding="utf-8")
        self.page = _Body(kind="text/html; charset=utf-8", data=page.encode())
        self.policy = (
            f"default-src 'none'; img-src 'self' data:; connect-src 'self'; script-src {_hash_of(page, 'script')}; "
            f"style-src {_hash_of(page, 'style')}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )

    def read(self, target: str) -> _Body:
        """The answer to a GET of a path with its query."""
        try:
            address = urlsplit(target)
        except ValueError as error:
            raise InputError(f"expected an address of this study, got one that cannot be read ({error})") from error
        folder, _, name = address.path.rpartition("/")
        if address.path == "/":
            return self.page
        if address.path == "/questions":
            return _as_json(self.questions(address.query))
        if folder == "/pictures" and name in self.study.pictures:
            return _Body(kind="image/png", data=(self.folder / PICTURES / name).read_bytes(), lasts=True)
        raise _Refused(HTTPStatus.NOT_FOUND, "expected an address of this study, got another", "begin at /")

    def questions(self, query: str) -> dict[str, Any]:
        """A rater's questions in their order, each with what they have said."""
        try:
            given = parse_qs(query, strict_parsing=True, errors="strict", max_num_fields=4).get("rater", [])
        except ValueError as error:
            raise InputError(f"expected ?rater=NAME, got a query that cannot be read ({error})") from error
        rater = rater_name(given[0] if len(given) == 1 else None)
        said = choices_of(read_answers(self.folder, self.study), rater)
        return {
            "rater": rater,
            "ask": self.study.ask,
            "people": {name: vars(shown) for name, shown in self.study.people.items()},
            "questions": [
                {
                    "id": q.id,
                    "person": q.person,
                    "prompt": q.prompt,
                    "left": q.left,
                    "right": q.right,
                    "choice": said.get(q.id),
                }
                for q in order_of(self.study, rater)
            ],
        }

    def keep(self, body: bytes) -> _Body:
        """Keeps an answer: {"rater", "question", "choice"}, all texts."""
        try:
            told = json.loads(body.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise InputError("expected an answer as JSON, got something else") from error
        if not isinstance(told, dict) or set(told) != {"rater", "question", "choice"}:
            raise InputError("expected an object of rater, question and choice, got another")
        answer = checked_answer(self.study, told["rater"], told["question"], told["choice"])
        append_answer(self.folder, self.study, answer)
        return _as_json({"rater": answer.rater, "question": answer.question, "choice": answer.choice})

    def check_host(self, headers: Mapping[str, str]) -> None:
        """Refuses names that a stranger's page could have pointed here: only addresses, localhost and our own pass."""
        given = headers.get("Host", "")
        try:
            name = urlsplit(f"//{given}").hostname or ""
        except ValueError:
            name = ""
        if name not in ("localhost", self.host.lower()) and not _is_address(name):
            raise _Refused(
                HTTPStatus.FORBIDDEN,
                f"expected the address of this study, got the host {given[:80]!r}",
                "open the address that prefgen study serve has printed",
            )

    def check_origin(self, headers: Mapping[str, str]) -> None:
        """Refuses answers that another site's page sends."""
        origin, host = headers.get("Origin"), headers.get("Host", "").lower()
        from_elsewhere = origin is not None and origin.lower() not in (f"http://{host}", f"https://{host}")
        if from_elsewhere or headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
            raise _Refused(HTTPStatus.FORBIDDEN, "expected an answer from this study's page, got one from elsewhere")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _hash_of(page: str, element: str) -> str:
    """The page's one inline script or style, as its content policy names it."""
    found = re.search(f"<{element}>(.*?)</{element}>", page, re.DOTALL)
    assert found is not None, element
    return f"'sha256-{base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()}'"


def _as_json(value: Mapping[str, Any]) -> _Body:
    return _Body(kind="application/json", data=json.dumps(value).encode())


class _Server(ThreadingHTTPServer):
    """A thread for every request, and a site that all of them share."""

    daemon_threads = True

    def __init__(self, host: str, port: int, site: _Site) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.site = site
        super().__init__((host, port), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A browser that left in the middle of its request is no news."""
        log.debug("a request from %s broke off", client_address, exc_info=True)

    def server_bind(self) -> None:
        """Binds without asking a name server what this machine is called."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])


class _Handler(BaseHTTPRequestHandler):
    """HTTP around a `_Site`: one request a connection, everything that is wrong as JSON with a 4xx status."""

    timeout = TIMEOUT_S
    server_version, sys_version = "prefgen", ""

    @property
    def site(self) -> _Site:
        """What is served."""
        assert isinstance(self.server, _Server)
        return self.server.site

    def do_GET(self) -> None:
        """The page, a picture, or a rater's questions."""
        self._answer(lambda: self.site.read(self.path))

    do_HEAD = do_GET

    def do_POST(self) -> None:
        """An answer."""
        self._answer(self._posted)

    def _posted(self) -> _Body:
        self.site.check_origin(self.headers)  # pyright: ignore[reportArgumentType]
        body = self._body()
        if self.path != "/answers":
            raise _Refused(HTTPStatus.NOT_FOUND, "expected answers at /answers, got another address")
        if self.headers.get_content_type() != "application/json":
            raise _Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "expected Content-Type: application/json, got another")
        return self.site.keep(body)

    def _body(self) -> bytes:
        """The request's body. What is too long is read to some length, so that the sender gets to see the refusal."""
        given = self.headers.get_all("Content-Length") or []
        if len(given) != 1 or not re.fullmatch("[0-9]{1,18}", given[0]):
            raise _Refused(HTTPStatus.LENGTH_REQUIRED, "expected one Content-Length, got another number of them")
        length = int(given[0])
        if length > MAX_BODY_BYTES:
            self.rfile.read(min(length, MAX_DRAINED_BYTES))
            raise _Refused(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"expected at most {MAX_BODY_BYTES} bytes, got {length}"
            )
        body = self.rfile.read(length)
        if len(body) != length:
            raise _Refused(HTTPStatus.BAD_REQUEST, f"expected {length} bytes, got {len(body)}")
        return body

    def _answer(self, make: Any) -> None:
        try:
            self.site.check_host(self.headers)  # pyright: ignore[reportArgumentType]
            self._send(HTTPStatus.OK, make())
        except _Refused as refused:
            self._refuse(refused.status, refused.message, refused.hint)
        except InputError as error:
            self._refuse(HTTPStatus.BAD_REQUEST, error.message, error.hint)
        except TimeoutError:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, f"expected a whole request within {TIMEOUT_S} s, got a part of it")
        except ConnectionError:
            log.debug("a browser left")
        except Exception as error:
            log.warning("not answered: %s: %s", type(error).__name__, error)
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, "this could not be done", "nothing was kept: try again")

    def _send(self, status: HTTPStatus, body: _Body) -> None:
        self.send_response(status)
        self.send_header("Content-Type", body.kind)
        self.send_header("Content-Length", str(len(body.data)))
        self.send_header("Cache-Control", "private, max-age=3600" if body.lasts else "no-store")
        self.send_header("Content-Security-Policy", self.site.policy)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body.data)

    def _refuse(self, status: HTTPStatus, message: str, hint: str | None = None) -> None:
        self._send(status, _as_json({"error": message, "hint": hint}))

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the request parser refuses, in the form of everything else; a method that is not known is a 405."""
        status = HTTPStatus.METHOD_NOT_ALLOWED if code == HTTPStatus.NOT_IMPLEMENTED else HTTPStatus(code)
        self._refuse(status, f"expected GET or POST of this study, got: {message or status.phrase}")

    def log_message(self, format: str, *args: object) -> None:
        """Requests are told to those who ask for them."""
        log.debug(format, *args)
