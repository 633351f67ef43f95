"""Answers, one JSON line each, appended so that a broken machine loses none."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
import unicodedata
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from prefgen.core import DataError, InputError
from prefgen.study.records import ANSWERS, Study

log = logging.getLogger(__name__)
CHOICES = ("left", "right", "tie")
"""What a rater may say; `tie` stands for no difference and for cannot say."""
MAX_NAME_LETTERS = 40
_ONE_WRITER = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One choice of one rater; `time_s` is unix seconds. Of several to one question the last counts."""

    rater: str
    question: str
    choice: str
    time_s: float


def rater_name(text: object) -> str:
    """A pseudonym as answers keep it, in small letters, so that "Ada" comes back as "ada".

    Raises `InputError` unless it is 2 to 40 letters, digits, spaces and `.`, `_`, `-`, with a letter or digit first.
    """
    name = unicodedata.normalize("NFKC", text).casefold() if isinstance(text, str) else ""
    fine = all(c in " ._-" or unicodedata.category(c)[0] in "LMN" for c in name)
    if not fine or not 2 <= len(name) <= MAX_NAME_LETTERS or not name[0].isalnum() or name != " ".join(name.split()):
        raise InputError(
            f"expected a name of 2 to {MAX_NAME_LETTERS} letters, digits, spaces or . _ -, got {str(text)[:80]!r}",
            hint="a pseudonym is enough, such as blue-heron-7",
        )
    return name


def checked_answer(study: Study, rater: object, question: object, choice: object) -> Answer:
    """An answer of this moment to a question of the study. Raises `InputError` where something of it is not known."""
    name = rater_name(rater)
    if not isinstance(question, str) or question not in {q.id for q in study.questions}:
        raise InputError(f"expected a question of this study, got {str(question)[:80]!r}")
    if not isinstance(choice, str) or choice not in CHOICES:
        raise InputError(f"expected one of {', '.join(CHOICES)}, got {str(choice)[:80]!r}")
    return Answer(rater=name, question=question, choice=choice, time_s=round(time.time(), 3))


def append_answer(folder: Path, study: Study, answer: Answer) -> None:
    """Adds a line to `answers.jsonl`, and returns when it is on the disk.

    A line that a crash cut short is closed first, so that it spoils no other. Raises `OSError` if it cannot be kept.
    """
    line = (json.dumps({"study": study.id, **asdict(answer)}, ensure_ascii=False) + "\n").encode()
    path = folder / ANSWERS
    with _ONE_WRITER:
        is_new = not path.exists()
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(handle, "r+b", buffering=0) as file:
            size = os.fstat(handle).st_size
            file.seek(max(0, size - 1))
            whole = line if size == 0 or file.read(1) == b"\n" else b"\n" + line
            if os.write(handle, whole) != len(whole):
                raise OSError("the disk took only a part of the answer")
            os.fsync(handle)
        if is_new:
            _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    """Makes a new file's name as lasting as its bytes, where the system can."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def read_answers(folder: Path, study: Study) -> list[Answer]:
    """Every rater's last answer to each question, in the order of the first answers.

    A line that was cut short is left out with a warning. Raises `DataError` for a whole line that is no answer to this
    study.
    """
    path = folder / ANSWERS
    kept: dict[tuple[str, str], Answer] = {}
    for number, line in enumerate(path.read_bytes().split(b"\n") if path.exists() else (), start=1):
        if not line.strip():
            continue
        try:
            told = json.loads(line)
        except (ValueError, RecursionError):
            log.warning("%s line %d is cut short and left out", path, number)
            continue
        answer = _answer(told, study, f"{path} line {number}")
        kept[answer.rater, answer.question] = answer
    return list(kept.values())


def _answer(told: object, study: Study, where: str) -> Answer:
    if not isinstance(told, dict) or told.get("study") != study.id:
        raise DataError(f"expected an answer to study {study.id} in {where}, got another's or none")
    try:
        checked = checked_answer(study, told.get("rater"), told.get("question"), told.get("choice"))
    except InputError as error:
        raise DataError(f"{where}: {error.message}") from error
    time_s = told.get("time_s")
    if isinstance(time_s, bool) or not isinstance(time_s, (int, float)):
        raise DataError(f"{where}: expected time_s in seconds, got {time_s!r}")
    return Answer(rater=checked.rater, question=checked.question, choice=checked.choice, time_s=float(time_s))


def choices_of(answers: Iterable[Answer], rater: str) -> dict[str, str]:
    """What a rater has said so far: question to choice."""
    return {answer.question: answer.choice for answer in answers if answer.rater == rater}
