"""A string for each person's taste, to whose text embeddings `ê_sem` is drawn: words that the published language model
finds in their pictures, as the paper's agents have theirs from one (arXiv 2512.06020); where it finds none, prompts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from prefgen.core import HistoryItem, ModelError
from prefgen.history.collect import people_in
from prefgen.history.splits import Split
from prefgen.mllm import PreferenceMLLM
from prefgen.mllm.taste_words import TasteWords, taste_words
from prefgen.pipeline.stored import MAX_STORED_PX
from prefgen.recipes.loop import Deadline, Unfinished

MOST_PROMPTS = 6
PICTURES_SHOWN = 4
Strings = dict[str, tuple[str, str]]
"""Of each user id: what is liked, and what is disliked."""


def strings_of(
    folder: Path,
    split: Split,
    load: Callable[[], PreferenceMLLM] | None,
    path: Path,
    *,
    deadline: Deadline,
    say: Callable[[str], None],
) -> Strings:
    """A split's strings, one line of JSON a person in `path`, found on first use by the model that `load` gives; None
    takes the prompts alone.

    Raises:
        Unfinished: the time was up; what was found is kept.
    """
    found = _read(path)
    reader: list[PreferenceMLLM] = []
    path.parent.mkdir(parents=True, exist_ok=True)
    for person in people_in(folder, split):
        if person.user_id in found:
            continue
        if load is not None:
            reader = reader or [load()]
        items = person.history(longest_px=MAX_STORED_PX).items
        sides = [[item for item in items if item.side == side] for side in ("like", "dislike")]
        words = _words(reader[0], sides) if reader else TasteWords()
        told = [", ".join(said) or from_prompts(side) for said, side in zip((words.liked, words.disliked), sides)]
        found[person.user_id] = (told[0], told[1])
        with path.open("a") as file:
            file.write(json.dumps([person.user_id, *told]) + "\n")
        if deadline.passed:
            raise Unfinished(f"strings: {len(found)} {split} people")
    if reader:
        say(f"strings of {len(found)} {split} people")
    return found


def from_prompts(items: Sequence[HistoryItem]) -> str:
    """What a side's pictures were asked for, and what was said of them."""
    said = [text for item in items for text in (item.comment, item.prompt) if text]
    return ", ".join(dict.fromkeys(said[:MOST_PROMPTS]))


def _words(mllm: PreferenceMLLM, sides: Sequence[Sequence[HistoryItem]]) -> TasteWords:
    liked, disliked = ([item.image for item in side] for side in sides)
    try:
        return taste_words(mllm.model, mllm.processor, liked, disliked, max_pictures=PICTURES_SHOWN)
    except ModelError as error:
        if error.__cause__ is not None:  # it cannot be asked; without a cause it named none
            raise
        return TasteWords()


def _read(path: Path) -> Strings:
    """What is there; a line that was cut off is found again."""
    found: Strings = {}
    lines = path.read_text().splitlines() if path.exists() else []
    whole = []
    for line in lines:
        try:
            user, like, dislike = json.loads(line)
        except ValueError:
            continue
        found[user] = (like, dislike)
        whole.append(line)
    if len(whole) < len(lines):
        path.write_text("".join(f"{line}\n" for line in whole))
    return found
