"""A study over real HTTP: scripted answers, coming back, hostile requests, and that nothing served tells a side."""

from __future__ import annotations

import http.client
import json
import re
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from prefgen.core import DataError, InputError
from prefgen.study import Answer, append_answer, rater_name, read_answers, read_key, study_server
from prefgen.study.answers import choices_of
from prefgen.study.records import ANSWERS, KEY, PICTURES, Study
from prefgen.study.serve import MAX_BODY_BYTES, address_of, order_of
from small_study import new_study


class Site:
    """A served study and a client of it."""

    def __init__(self, folder: Path, study: Study, port: int) -> None:
        self.folder, self.study, self.port = folder, study, port

    def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        told = answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        connection.close()
        return told

    def questions(self, rater: str) -> dict[str, Any]:
        status, _, body = self.ask("GET", f"/questions?rater={quote(rater)}")
        assert status == 200, body
        return json.loads(body)

    def answer(self, given: Any, **headers: str) -> tuple[int, dict[str, Any]]:
        body = given if isinstance(given, bytes) else json.dumps(given).encode()
        status, _, told = self.ask("POST", "/answers", body, **{"Content_Type": "application/json", **headers})
        return status, json.loads(told)

    def kept(self) -> list[Answer]:
        return read_answers(self.folder, self.study)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    study, _ = new_study(tmp_path / "s")
    server = study_server(tmp_path / "s")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield Site(tmp_path / "s", study, server.server_address[1])
    server.shutdown()
    thread.join()
    server.server_close()


def good(site: Site, **change: Any) -> dict[str, Any]:
    return {"rater": "ada", "question": site.study.questions[0].id, "choice": "left", **change}


def test_a_rater_answers_everything_and_comes_back(site: Site) -> None:
    told = site.questions("Ada")
    names = [q["id"] for q in told["questions"]]
    assert told["rater"] == "ada"
    assert sorted(names) == sorted(q.id for q in site.study.questions)
    assert names != [q["id"] for q in site.questions("bob")["questions"]], "everybody has an order of their own"
    for name, choice in zip(names[:5], ("left", "right", "tie", "left", "left")):
        assert site.answer({"rater": "Ada", "question": name, "choice": choice})[0] == 200
    again = site.questions("ADA")["questions"]
    assert [q["id"] for q in again] == names
    assert [q["choice"] for q in again] == ["left", "right", "tie", "left", "left"] + [None] * (len(names) - 5)
    site.answer({"rater": "ada", "question": names[0], "choice": "right"})
    assert len((site.folder / ANSWERS).read_bytes().splitlines()) == 6, "nothing that was said is taken back"
    assert choices_of(site.kept(), "ada")[names[0]] == "right"
    assert not any(q["choice"] for q in site.questions("bob")["questions"])


def test_another_server_goes_on_with_the_same_answers(site: Site) -> None:
    site.answer(good(site))
    other = study_server(site.folder)
    other.server_close()
    assert address_of(other).startswith("http://127.0.0.1:")
    assert [a.choice for a in site.kept()] == ["left"]


def test_nothing_served_tells_which_method_a_picture_is_of(site: Site) -> None:
    told = site.questions("ada")
    shown = {name for q in told["questions"] for name in (q["left"], q["right"])}
    shown |= {name for person in told["people"].values() for side in person.values() for name in side}
    pages = [site.ask("GET", path) for path in ("/", "/questions?rater=ada", *(f"/pictures/{n}" for n in shown))]
    pages.append(site.ask("POST", "/answers", json.dumps(good(site)).encode(), Content_Type="application/json"))
    key = read_key(site.folder, site.study)
    secrets = [
        key.a,
        key.b,
        "source-1",
        "of-the-run",
        "shuffled",
        "attention",
        '"kind"',
        '"seed"',
        str(site.folder),
        KEY,
    ]
    for status, headers, body in pages:
        assert status == 200
        everything = (json.dumps(headers) + body.decode("latin-1")).lower()
        assert not [secret for secret in secrets if secret in everything]
        assert not {"last-modified", "etag"} & set(headers)
    assert set(told) == {"rater", "ask", "people", "questions"}
    assert set(told["questions"][0]) == {"id", "person", "prompt", "left", "right", "choice"}
    lefts = {key.questions[q["id"]].side for q in told["questions"] if re.fullmatch(r"q\d+-left\.png", q["left"])}
    assert lefts == {"left", "right"}, "names say where a picture stands, not what it is"
    for path in ("/key.json", "/pictures/key.json", "/study.json", "/answers.jsonl", "/pictures/", "/pictures"):
        assert site.ask("GET", path)[0] == 404


def test_the_server_never_opens_the_key(site: Site) -> None:
    (site.folder / KEY).unlink()
    assert len(site.questions("ada")["questions"]) == len(site.study.questions)
    assert site.answer(good(site))[0] == 200


def test_the_page_brings_all_it_needs_and_can_be_used_without_a_mouse(site: Site) -> None:
    status, headers, body = site.ask("GET", "/")
    page = body.decode()
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!data:)""", page), "no outside assets"
    assert "http" not in page.replace("https", "http").split("<script>")[0]
    for needed in ('lang="en"', "viewport", 'alt="Left picture"', 'role="alert"', "aria-live", "<label>", "<progress"):
        assert needed in page, needed
    for key in ("arrowleft", "arrowright", 'n: "tie"', "focus-visible", "textContent"):
        assert key in page, key
    assert "innerHTML" not in page
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["content-security-policy"].count("'sha256-") == 2
    status, headers, body = site.ask("HEAD", "/")
    assert (status, body, int(headers["content-length"])) == (200, b"", len(page.encode()))


@pytest.mark.parametrize(
    "path",
    [
        "/pictures/../key.json",
        "/pictures/..%2fkey.json",
        "/pictures/%2e%2e/key.json",
        "/../../../../etc/passwd",
        "//etc/passwd",
        "/pictures//etc/passwd",
        "/pictures/..\\key.json",
        "/pictures/q001-left.png%00",
        "/pictures/./q001-left.png",
        "/favicon.ico",
    ],
)
def test_no_path_reaches_the_disk(site: Site, path: str) -> None:
    status, _, body = site.ask("GET", path)
    assert status == 404
    assert "expected" in json.loads(body)["error"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * MAX_BODY_BYTES,
        b"[]",
        b"null",
        {"rater": "ada"},
        {"rater": "ada", "question": "q001", "choice": "left", "more": 1},
        {"rater": "ada", "question": "q999", "choice": "left"},
        {"rater": "ada", "question": 1, "choice": "left"},
        {"rater": "ada", "question": ["q001"], "choice": "left"},
        {"rater": "ada", "question": "../key", "choice": "left"},
        {"rater": "ada", "question": "q001", "choice": "both"},
        {"rater": "ada", "question": "q001", "choice": None},
        {"rater": "ada", "question": "q001", "choice": {"left": 1}},
        {"rater": 7, "question": "q001", "choice": "left"},
        {"rater": "a\nb", "question": "q001", "choice": "left"},
        {"rater": "\ud800\ud800", "question": "q001", "choice": "left"},
        {"rater": "x" * 41, "question": "q001", "choice": "left"},
    ],
)
def test_answers_that_are_none_are_refused_and_nothing_is_lost(site: Site, body: Any) -> None:
    site.answer(good(site))
    before = (site.folder / ANSWERS).read_bytes()
    status, told = site.answer(body)
    assert status == 400
    assert told["error"].startswith("expected")
    assert (site.folder / ANSWERS).read_bytes() == before
    assert site.answer(good(site, choice="tie"))[0] == 200


def test_oversized_untyped_and_unsized_answers_are_refused(site: Site) -> None:
    assert site.answer(b" " * (MAX_BODY_BYTES + 1))[0] == 413
    assert site.answer(b" " * 300_000)[0] == 413
    assert site.answer(good(site), Content_Type="text/plain")[0] == 415
    assert site.ask("POST", "/elsewhere", b"{}", Content_Type="application/json")[0] == 404
    for length in ("-1", "ten", "9" * 40):
        assert site.answer(b"{}", Content_Length=length)[0] == 411
    assert site.ask("PUT", "/answers", b"{}")[0] == 405
    assert site.ask("GET", "/" + "a" * 70_000)[0] == 414
    assert site.kept() == []


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "localhost.evil", "["]
)
def test_strangers_names_for_this_address_are_refused(site: Site, host: str) -> None:
    assert site.ask("GET", "/questions?rater=ada", Host=host)[0] == 403
    assert site.answer(good(site), Host=host)[0] == 403
    assert site.kept() == []


def test_other_sites_pages_cannot_answer_and_our_own_can(site: Site) -> None:
    for origin in ("https://evil.example", "null", "http://127.0.0.1:1", f"http://evil.example:{site.port}"):
        assert site.answer(good(site), Origin=origin)[0] == 403
    for kind in ("cross-site", "same-site"):
        assert site.answer(good(site), Sec_Fetch_Site=kind)[0] == 403
    assert site.kept() == []
    for host in (f"127.0.0.1:{site.port}", f"localhost:{site.port}", "[::1]:9000"):
        assert site.answer(good(site), Host=host, Origin=f"http://{host}", Sec_Fetch_Site="same-origin")[0] == 200


@pytest.mark.parametrize("query", ["", "?", "?rater=", "?rater=a&rater=b", "?rater=%ff", "?rater=..%2f", "?r=ada"])
def test_raters_without_a_name_get_no_questions(site: Site, query: str) -> None:
    status, _, body = site.ask("GET", f"/questions{query}")
    assert (status, json.loads(body)["error"][:8]) == (400, "expected")


def test_many_raters_at_once_lose_nothing(site: Site) -> None:
    def answer(rater: str) -> None:
        for question in site.study.questions:
            assert site.answer({"rater": rater, "question": question.id, "choice": "left"})[0] == 200

    raters = [f"rater {k}" for k in range(4)]
    threads = [threading.Thread(target=answer, args=(rater,)) for rater in raters]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(site.kept()) == 4 * len(site.study.questions)


def test_a_line_that_a_crash_cut_short_spoils_no_other(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.answer(good(site))
    with (site.folder / ANSWERS).open("ab") as file:
        file.write(b'{"study": "abc", "rat')
    site.answer(good(site, rater="bob"))
    assert [a.rater for a in site.kept()] == ["ada", "bob"]
    assert "line 2 is cut short" in caplog.text


def test_an_answer_that_cannot_be_kept_is_said_so(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("prefgen.study.answers.os.fsync", full)
    status, told = site.answer(good(site))
    assert (status, told["hint"]) == (500, "nothing was kept: try again")


@pytest.mark.parametrize(
    "line",
    [
        '{"study": "another", "rater": "ada", "question": "q001", "choice": "left", "time_s": 1}',
        '{"study": "ID", "rater": "ada", "question": "q999", "choice": "left", "time_s": 1}',
        '{"study": "ID", "rater": "ada", "question": "q001", "choice": "up", "time_s": 1}',
        '{"study": "ID", "rater": "ada", "question": "q001", "choice": "left", "time_s": true}',
        "[1]",
    ],
)
def test_whole_lines_that_are_no_answers_are_told_of(tmp_path: Path, line: str) -> None:
    study, _ = new_study(tmp_path / "s")
    (tmp_path / "s" / ANSWERS).write_text(line.replace("ID", study.id) + "\n")
    with pytest.raises(DataError, match="line 1"):
        read_answers(tmp_path / "s", study)
    with pytest.raises(DataError):
        study_server(tmp_path / "s")


def test_names_are_checked_strictly() -> None:
    assert [rater_name(x) for x in ("Ada", "blue-heron-7", "Zoë B.", "李雷")] == [
        "ada",
        "blue-heron-7",
        "zoë b.",
        "李雷",
    ]
    for wrong in ("", "a", " ada", "ada ", "a  b", "-ada", "a/b", "a\x00b", "ada\u202e", "<b>", None, 3, ["ada"]):
        with pytest.raises(InputError, match="expected a name"):
            rater_name(wrong)


def test_orders_keep_blocks_together(tmp_path: Path) -> None:
    study, _ = new_study(tmp_path / "s", n=20, n_checks=4)
    blocks = [q.block for q in order_of(study, "ada")]
    assert sum(one != next_ for one, next_ in pairwise(blocks)) == 3
    assert order_of(study, "ada") == order_of(study, "ada") != order_of(study, "bob")


def test_an_address_that_is_taken_and_a_folder_without_a_study_are_refused(site: Site, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="free address"):
        study_server(site.folder, port=site.port)
    with pytest.raises(InputError, match="empty"):
        study_server(site.folder, host=" ")
    with pytest.raises(DataError, match="expected a study"):
        study_server(tmp_path)


def test_appending_is_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, _ = new_study(tmp_path / "s")
    synced: list[int] = []
    monkeypatch.setattr("prefgen.study.answers.os.fsync", synced.append)
    append_answer(tmp_path / "s", study, Answer(rater="ada", question="q001", choice="tie", time_s=2.5))
    append_answer(tmp_path / "s", study, Answer(rater="ada", question="q002", choice="left", time_s=3.5))
    assert len(synced) == 3, "both lines, and once the folder"
    assert [a.time_s for a in read_answers(tmp_path / "s", study)] == [2.5, 3.5]


def test_the_command_serves_and_ends_with_the_keyboard(cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new_study(tmp_path / "s")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("prefgen.study.serve._Server.serve_forever", stop)
    status, out, err = cli("study", "serve", tmp_path / "s", "--json")
    assert status == 0
    assert json.loads(out)["url"].startswith("http://127.0.0.1:")
    assert "answers.jsonl" in err
    assert "warning" not in err
    assert (tmp_path / "s" / PICTURES).is_dir()
