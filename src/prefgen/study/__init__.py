"""A blind study of two sets of pictures: made from runs, answered by people in the browser, reported with intervals."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prefgen.study.answers import CHOICES, Answer, append_answer, rater_name, read_answers
    from prefgen.study.make import make_study
    from prefgen.study.records import Asked, Key, Question, Shown, Study, read_key, read_study
    from prefgen.study.report import study_report
    from prefgen.study.serve import study_server
    from prefgen.study.sources import Pair, Pairs, pairs_of

_FILES = {
    "answers": ("CHOICES", "Answer", "append_answer", "rater_name", "read_answers"),
    "make": ("make_study",),
    "records": ("Asked", "Key", "Question", "Shown", "Study", "read_key", "read_study"),
    "report": ("study_report",),
    "serve": ("study_server",),
    "sources": ("Pair", "Pairs", "pairs_of"),
}
__all__ = [
    "CHOICES",
    "Answer",
    "Asked",
    "Key",
    "Pair",
    "Pairs",
    "Question",
    "Shown",
    "Study",
    "append_answer",
    "make_study",
    "pairs_of",
    "rater_name",
    "read_answers",
    "read_key",
    "read_study",
    "study_report",
    "study_server",
]


def __getattr__(name: str) -> object:
    """Loads a name's file on first use: a server need not wait for what makes and reports studies."""
    for file, names in _FILES.items():
        if name in names:
            return getattr(import_module(f"prefgen.study.{file}"), name)
    raise AttributeError(f"module 'prefgen.study' has no attribute {name!r}")
