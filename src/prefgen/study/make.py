"""A study from pairs: which are asked, on which side each method stands, what is shown beside, and attention checks."""

from __future__ import annotations

import io
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from prefgen.core import InputError, numpy_rng
from prefgen.pipeline.atomic import write_whole
from prefgen.study.records import (
    KEY,
    PICTURES,
    STUDY,
    Asked,
    Key,
    Question,
    Shown,
    SidePlace,
    Study,
    as_json,
    id_of,
    sha256_of,
)
from prefgen.study.sources import Pair, Pairs

N_QUESTIONS, N_QUESTIONS_PER_CHECK = 60, 10
MAX_ASK_LETTERS = 300
ASK_PERSON = "Which of the two pictures would this person like more?"
ASK_PROMPT = "Which of the two pictures shows better what was asked for?"
ASK_ALONE = "Which of the two pictures do you like more?"


@dataclass(frozen=True, kw_only=True, eq=False)
class _Drawn:
    """A question before it has a number: its two pictures, and where the first of them stands."""

    first: Image.Image
    second: Image.Image
    side: SidePlace
    check: bool
    source: str
    prompt: str | None
    person: str | None


def make_study(
    pairs: Pairs,
    folder: Path,
    *,
    n_questions: int = N_QUESTIONS,
    n_checks: int | None = None,
    seed: int | None = None,
    ask: str | None = None,
) -> Study:
    """Writes a study into `folder`: `study.json`, `pictures/*.png` and, for its owner alone, `key.json`.

    At most `n_questions` pairs are drawn, as evenly over people as there are pairs. Method a stands left in half of
    them. `n_checks` attention checks (default: one for every ten pairs, two at least) lie among them, one a block: for
    a person with liked and disliked pictures, one of either, both of which are on show above; else a pair's picture
    against its own pixels shuffled. `seed` decides all of it; without one it is drawn, so that nobody who knows this
    code can work the sides out. It is kept in the key. `ask` is the question put to the rater.

    Raises `InputError` for a folder that holds something, and for numbers or a question out of range.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"expected a new folder for the study, got {folder}, which is there", hint="give another -o")
    if n_questions < 1 or (n_checks is not None and n_checks < 0):
        raise InputError(f"expected at least 1 question and 0 checks, got {n_questions} and {n_checks}")
    if ask is not None and not 0 < len(ask.strip()) <= MAX_ASK_LETTERS:
        raise InputError(f"expected a question of 1 to {MAX_ASK_LETTERS} letters, got {len(ask.strip())}")
    seed = secrets.randbits(53) if seed is None else seed
    chosen = _chosen(pairs.pairs, n_questions, seed)
    n_checks = max(2, len(chosen) // N_QUESTIONS_PER_CHECK) if n_checks is None else n_checks
    blocks = _blocks(_asked_pairs(chosen, seed), _checks(pairs, chosen, n_checks, seed), seed)
    return _write(pairs, blocks, folder, ask or _question_to_ask(pairs, chosen), seed)


def _question_to_ask(pairs: Pairs, chosen: Sequence[Pair]) -> str:
    if any(pair.person in pairs.liked for pair in chosen):
        return ASK_PERSON
    return ASK_PROMPT if all(pair.prompt for pair in chosen) else ASK_ALONE


def _chosen(pairs: Sequence[Pair], n: int, seed: int) -> list[Pair]:
    """At most `n` pairs in turns of people, in a random order of both."""
    rng = numpy_rng("study pairs", seed)
    of_person: dict[str | None, list[Pair]] = {}
    for i in rng.permutation(len(pairs)):
        of_person.setdefault(pairs[i].person, []).append(pairs[i])
    turns = [(turn, pair) for mine in of_person.values() for turn, pair in enumerate(mine)]
    return [pair for _, pair in sorted(turns, key=lambda turned: turned[0])][:n]


def _sides(n: int, *parts: object) -> list[SidePlace]:
    """`n` sides in a random order, half of them left; which is more often at an odd number is random too."""
    rng = numpy_rng("study sides", *parts)
    odd = int(rng.integers(2))
    return ["left" if (k + odd) % 2 else "right" for k in rng.permutation(n)]


def _asked_pairs(chosen: Sequence[Pair], seed: int) -> list[_Drawn]:
    return [
        _Drawn(first=p.a, second=p.b, side=side, check=False, source=p.source, prompt=p.prompt, person=p.person)
        for p, side in zip(chosen, _sides(len(chosen), "pairs", seed))
    ]


def _checks(pairs: Pairs, chosen: Sequence[Pair], n: int, seed: int) -> list[_Drawn]:
    """`n` checks whose first picture is the right answer."""
    rng = numpy_rng("study checks", seed)
    sides = _sides(n, "checks", seed)
    checks = []
    for k, side in enumerate(sides):
        pair = chosen[k % len(chosen)]
        liked, disliked = (of.get(pair.person or "", ()) for of in (pairs.liked, pairs.disliked))
        if liked and disliked:
            first, second = liked[int(rng.integers(len(liked)))], disliked[int(rng.integers(len(disliked)))]
            drawn = _Drawn(
                first=first, second=second, side=side, check=True, source="history", prompt=None, person=pair.person
            )
        else:
            first = (pair.a, pair.b)[int(rng.integers(2))]
            drawn = _Drawn(
                first=first,
                second=_shuffled(first, rng),
                side=side,
                check=True,
                source="shuffled pixels",
                prompt=pair.prompt,
                person=pair.person,
            )
        checks.append(drawn)
    return checks


def _shuffled(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """The same pixels in a random order: the colours stay, what they show is gone."""
    pixels = np.asarray(picture.convert("RGB"))
    return Image.fromarray(rng.permutation(pixels.reshape(-1, 3)).reshape(pixels.shape))


def _blocks(asked: Sequence[_Drawn], checks: Sequence[_Drawn], seed: int) -> list[list[_Drawn]]:
    """Pairs dealt to as many blocks as there are checks, one check to each, every block in a random order."""
    rng = numpy_rng("study blocks", seed)
    n = max(1, len(checks))
    blocks = [[asked[int(i)] for i in part] for part in np.array_split(rng.permutation(len(asked)), n)]
    dealt = [block + list(checks[i : i + 1]) for i, block in enumerate(blocks)]
    return [[block[int(i)] for i in rng.permutation(len(block))] for block in dealt]


def _write(pairs: Pairs, blocks: Sequence[Sequence[_Drawn]], folder: Path, ask: str, seed: int) -> Study:
    numbered = [(block, drawn) for block, part in enumerate(blocks) for drawn in part]
    names = list(dict.fromkeys(d.person for _, d in numbered if d.person is not None))
    people = {person: str(number + 1) for number, person in enumerate(names)}
    pictures: dict[str, str] = {}

    def keep(name: str, picture: Image.Image) -> str:
        encoded = _encoded(picture)
        write_whole(folder / PICTURES / name, encoded)
        pictures[name] = sha256_of(encoded)
        return name

    shown = {
        number: Shown(
            liked=tuple(keep(f"person-{number}-liked-{k + 1}.png", p) for k, p in enumerate(_of(pairs.liked, name))),
            disliked=tuple(
                keep(f"person-{number}-disliked-{k + 1}.png", p) for k, p in enumerate(_of(pairs.disliked, name))
            ),
        )
        for name, number in people.items()
    }
    questions, truth = [], {}
    for i, (block, drawn) in enumerate(numbered):
        name = f"q{i + 1:03d}"
        left, right = (drawn.first, drawn.second) if drawn.side == "left" else (drawn.second, drawn.first)
        question = Question(
            id=name,
            block=block,
            person=None if drawn.person is None else people[drawn.person],
            prompt=drawn.prompt,
            left=keep(f"{name}-left.png", left),
            right=keep(f"{name}-right.png", right),
        )
        questions.append(question)
        unit = drawn.person if drawn.person is not None and len(people) > 1 else drawn.source
        truth[name] = Asked(kind="check" if drawn.check else "pair", side=drawn.side, unit=unit, source=drawn.source)
    study = Study(id="", ask=ask, questions=tuple(questions), people=shown, pictures=pictures)
    study = replace(study, id=id_of(study.ask, study.questions, study.people, study.pictures))
    key = Key(study=study.id, a=pairs.a, b=pairs.b, seed=seed, questions=truth)
    write_whole(folder / KEY, as_json(key), private=True)
    write_whole(folder / STUDY, as_json(study))
    return study


def _of(sides: Mapping[str, tuple[Image.Image, ...]], person: str) -> tuple[Image.Image, ...]:
    return sides.get(person, ())


def _encoded(picture: Image.Image) -> bytes:
    """A PNG of the pixels alone, without anything that the source file told."""
    encoded = io.BytesIO()
    Image.fromarray(np.asarray(picture.convert("RGB"))).save(encoded, format="PNG")
    return encoded.getvalue()
