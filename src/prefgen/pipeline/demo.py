"""The demonstration: pictures painted for a simulated person whom no training has met."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image

from prefgen.agents import Dials, Person, history_of, new_person, paint, prompt_of
from prefgen.agents.people import FIRST_UNSEEN_CLUSTER, N_CLUSTERS
from prefgen.core import History, HistoryItem, numpy_rng
from prefgen.pipeline.atomic import write_whole
from prefgen.pipeline.model import PrefGen
from prefgen.pipeline.png import save_png
from prefgen.pipeline.profile import Profile
from prefgen.pipeline.sheet import GREEN, QUIET_INK, RED, Sentence, Strip, contact_sheet

PROMPT = "a fox by a lake"
_ONE_TASTE = Dials(two_mode=0.0, drifting=0.0, subject_dependent=0.0, n_likes=(8, 8), n_dislikes=(8, 8))
"""People with one steady taste, so that a stranger can see it in a few pictures; one label in ten is still wrong."""


def held_out_person(name: str, seed: int) -> Person:
    """A simulated person from a cluster that nothing was trained on."""
    n_unseen = N_CLUSTERS - FIRST_UNSEEN_CLUSTER
    first = int(numpy_rng("demo cluster", seed).integers(n_unseen))
    cluster = FIRST_UNSEEN_CLUSTER + (first + (name != "person") * (n_unseen // 2)) % n_unseen
    return new_person(f"test-demo-{name}-{seed}", cluster, _ONE_TASTE)


def painted_history(person: Person) -> History:
    """A person's labelled pictures, painted, as a history."""
    shown = history_of(person, seed_class="test")
    return History(
        items=tuple(
            HistoryItem(
                image=Image.fromarray(paint(one.scene)),
                side="like" if one.liked else "dislike",
                prompt=prompt_of(one.scene),
            )
            for one in shown
        )
    )


def paint_demo(
    model: PrefGen, out: Path | str, *, prompt: str = PROMPT, seed: int = 3, n_pictures: int = 4, **settings: Any
) -> dict[str, Any]:
    """Paints `prompt` without the person, with them and with somebody else, from the same seeds; returns a summary.

    The seed that is taken without one shows two people whose tastes leave the subject standing; under others (seed 0:
    hatching) it drowns.

    Writes into `out`, over what an earlier call left: `sheet.png` (history, pictures, and what was understood, in
    words), the pictures one by one, the person's `profile.safetensors`, and the summary as `demo.json`.
    """
    out = Path(out)
    person, other = (held_out_person(name, seed) for name in ("person", "other"))
    me, somebody = (model.profile(history=painted_history(one)) for one in (person, other))
    people: dict[str, Profile | None] = {"without": None, "with": me, "other": somebody}
    pictures: dict[str, list[Image.Image]] = {}
    files: dict[str, list[str]] = {}
    for name, profile in people.items():
        made = model(prompt, profile=profile, num_images_per_prompt=n_pictures, seed=seed, **settings)
        pictures[name] = made.images
        files[name] = [str(out / f"{name}-{one}.png") for one in made.seeds]
        for image, one, path in zip(made.images, made.seeds, files[name]):
            save_png(image, path, model.told_of(profile, prompt, one, **settings), replace=True)
    understood = model.explain(me)
    sheet = _sheet(me, prompt, pictures, understood.in_words())
    told = {"prompt": prompt, "seed": seed, "profile": me.digest, "model": model.sha256}
    save_png(sheet, out / "sheet.png", told, replace=True)
    me.save(out / "profile.safetensors")
    summary = {
        "prompt": prompt,
        "seed": seed,
        "person": person.id,
        "other": other.id,
        "model": model.sha256,
        "profile": me.digest,
        "sheet": str(out / "sheet.png"),
        "pictures": files,
        "p_like": {name: model.score(me, images) for name, images in pictures.items()},
        "understood": understood.to_json(),
        "in_words": understood.in_words(),
    }
    write_whole(out / "demo.json", (json.dumps(summary, indent=1) + "\n").encode())
    return summary


def _sheet(me: Profile, prompt: str, pictures: dict[str, list[Image.Image]], in_words: str) -> Image.Image:
    history = me.pictures()
    likes, dislikes = ([item.image for item in side] for side in (history.liked, history.disliked))
    note = "A simulated person whom the model has never met; one label in ten is wrong on purpose."
    n = max(len(pictures["with"]), 3)
    n_across = min(10, max(8, len(likes), len(dislikes)))
    return contact_sheet(
        f"“{prompt}”, for one person",
        [
            Sentence(text=note, size_px=20, ink=QUIET_INK, space_above_px=0),
            Strip(caption="What this person liked", pictures=likes, n_columns=n_across, frame=GREEN),
            Strip(caption="What this person disliked", pictures=dislikes, n_columns=n_across, frame=RED),
            Sentence(text=f"Understood: {in_words}.", space_above_px=20),
            Strip(caption="The prompt alone", pictures=pictures["without"], n_columns=n),
            Strip(caption="The prompt for this person", pictures=pictures["with"], n_columns=n),
            Strip(caption="The prompt for somebody else", pictures=pictures["other"], n_columns=n),
        ],
    )
