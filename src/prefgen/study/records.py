"""A study's two files: `study.json`, which whoever answers may see, and `key.json`, which tells the sides."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from prefgen.core import DataError

STUDY, KEY, ANSWERS, PICTURES = "study.json", "key.json", "answers.jsonl", "pictures"
FORMAT = 1
PICTURE_NAME = re.compile(r"[a-z0-9-]{1,60}\.png")
QUESTION_ID = re.compile(r"q[0-9]{3,6}")
SidePlace = Literal["left", "right"]


@dataclass(frozen=True, kw_only=True)
class Shown:
    """The history that is shown with a question: names of pictures."""

    liked: tuple[str, ...]
    disliked: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Question:
    """Two pictures to choose between. `person` is a number of the study's own, or None where no history is shown.

    Questions of one `block` are asked together, in an order of each rater's own.
    """

    id: str
    block: int
    person: str | None
    prompt: str | None
    left: str
    right: str


@dataclass(frozen=True, kw_only=True)
class Study:
    """What a rater may see. `pictures` maps file names to the sha256 (hex) of their bytes."""

    id: str
    ask: str
    questions: tuple[Question, ...]
    people: Mapping[str, Shown]
    pictures: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The truth of a question.

    Of a pair `side` is where method a's picture stands, `unit` whom it was painted for (else the question itself) and
    `source` what it was painted from; of an attention check `side` is the right answer.
    """

    kind: Literal["pair", "check"]
    side: SidePlace
    unit: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Key:
    """The truth of a study: the methods' names, the seed that drew it, and every question's sides."""

    study: str
    a: str
    b: str
    seed: int
    questions: Mapping[str, Asked]


def sha256_of(data: bytes) -> str:
    """Sha256 (hex) of a file's bytes."""
    return hashlib.sha256(data).hexdigest()


def id_of(ask: str, questions: tuple[Question, ...], people: Mapping[str, Shown], pictures: Mapping[str, str]) -> str:
    """Twelve hex digits of everything that a rater sees."""
    told = [ask, [asdict(q) for q in questions], {p: asdict(s) for p, s in people.items()}, dict(pictures)]
    return sha256_of(json.dumps(told, sort_keys=True).encode())[:12]


def as_json(record: Study | Key) -> bytes:
    """A record as the bytes of its file."""
    return (json.dumps({"format": FORMAT, **asdict(record)}, indent=1, ensure_ascii=False) + "\n").encode()


def read_study(folder: Path) -> Study:
    """The study in a folder, its pictures checked against their hashes.

    Raises `DataError` where there is none, or where a file is damaged, missing or another than it was.
    """
    told = _read(folder / STUDY)
    try:
        study = Study(
            id=_text(told["id"]),
            ask=_text(told["ask"]),
            questions=tuple(_question(q) for q in told["questions"]),
            people={_text(name): _shown(shown) for name, shown in told["people"].items()},
            pictures={_name(name): _text(digest) for name, digest in told["pictures"].items()},
        )
        _check_whole(study)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"expected a study in {folder / STUDY}, got {error!r}", hint="prefgen study make") from error
    for name, digest in study.pictures.items():
        path = folder / PICTURES / name
        if not path.is_file() or sha256_of(path.read_bytes()) != digest:
            raise DataError(f"expected {path} as it was made, got another or none", hint="make the study again")
    return study


def read_key(folder: Path, study: Study) -> Key:
    """The key in a study's folder. Raises `DataError` where it is missing, damaged, or of another study."""
    told = _read(folder / KEY)
    try:
        questions = {_text(name): _asked(asked) for name, asked in told["questions"].items()}
        key = Key(
            study=_text(told["study"]), a=_text(told["a"]), b=_text(told["b"]), seed=told["seed"], questions=questions
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"expected a study's key in {folder / KEY}, got {error!r}") from error
    if key.study != study.id or set(questions) != {q.id for q in study.questions}:
        raise DataError(f"expected the key of study {study.id} in {folder / KEY}, got that of {key.study}")
    return key


def _read(path: Path) -> dict[str, Any]:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"expected a study's {path.name} in {path.parent}, got {error}") from error
    if not isinstance(told, dict) or told.get("format") != FORMAT:
        raise DataError(f"expected {path} of format {FORMAT}, got another")
    return told


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} where a text belongs")
    return value


def _name(value: Any) -> str:
    if not PICTURE_NAME.fullmatch(_text(value)):
        raise ValueError(f"{value!r} where a picture's name belongs")
    return value


def _question(told: Mapping[str, Any]) -> Question:
    if not QUESTION_ID.fullmatch(_text(told["id"])) or type(told["block"]) is not int:
        raise ValueError(f"question {told['id']!r} of block {told['block']!r}")
    person, prompt = (None if told[name] is None else _text(told[name]) for name in ("person", "prompt"))
    left, right = _name(told["left"]), _name(told["right"])
    return Question(id=told["id"], block=told["block"], person=person, prompt=prompt, left=left, right=right)


def _shown(told: Mapping[str, Any]) -> Shown:
    return Shown(liked=tuple(map(_name, told["liked"])), disliked=tuple(map(_name, told["disliked"])))


def _asked(told: Mapping[str, Any]) -> Asked:
    if told["kind"] not in ("pair", "check") or told["side"] not in ("left", "right"):
        raise ValueError(f"{told!r} where a question's truth belongs")
    return Asked(kind=told["kind"], side=told["side"], unit=_text(told["unit"]), source=_text(told["source"]))


def _check_whole(study: Study) -> None:
    """Every name that a question uses must be there."""
    named = {name for q in study.questions for name in (q.left, q.right)}
    named |= {name for shown in study.people.values() for name in (*shown.liked, *shown.disliked)}
    people = {q.person for q in study.questions if q.person is not None}
    if named - set(study.pictures) or people - set(study.people) or not study.questions:
        raise ValueError("questions about pictures or people that are not there, or no questions")
    if len({q.id for q in study.questions}) != len(study.questions):
        raise ValueError("two questions of one name")
    if study.id != id_of(study.ask, study.questions, study.people, study.pictures):
        raise ValueError("questions that are not as they were made")
