"""A tiny model of the embedded kind, and a folder of people whose tastes are plain to see."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from prefgen.core import HistoryItem, Side
from prefgen.history.splits import Split
from prefgen.recipes.own_data.people import OwnPerson, person_of
from prefgen.recipes.own_data.settings import OwnDataPreset, own_data_preset_named
from tiny_mllm import tiny_model, tiny_processor

N_PROMPTS = 6
SMALLEST: dict[str, Any] = {
    "preference_samples": 160,
    "preference_batch": 4,
    "choose_every": 80,
    "adapter_samples": 24,
    "adapter_batch": 8,
    "simulated_share": 0.0,
    "evaluated_people": 4,
    "flow_draws": 2,
    "n_variants": 2,
}


def smallest(**changes: Any) -> OwnDataPreset:
    """Seconds, without simulated people."""
    return own_data_preset_named("tiny").with_overrides(**SMALLEST | changes)


def start_folder(folder: Path) -> Path:
    """A whole model of random weights whose language model can be loaded; without evidence."""
    from conftest import build_model_folder
    from prefgen.embedding import UserEncoder, UserEncoderConfig

    build_model_folder(folder)
    model = tiny_model()
    tiny_processor().save_pretrained(folder / "mllm")
    model.save_pretrained(folder / "mllm")
    (folder / "mllm" / "calibration.json").write_text(json.dumps({"temperature": 1.5}))
    config = json.loads((folder / "user_encoder" / "config.json").read_text())
    config |= {"d_lm": 32, "election_width": 0.25, "sem_layers": (2, 3), "core_layers": (1, 2), "one_reading": True}
    UserEncoder(UserEncoderConfig(**config)).save(folder / "user_encoder")
    return folder


def people_folder(
    folder: Path,
    n_people: int = 12,
    *,
    splits: Sequence[Split] = ("train", "train", "validation"),
    turned: Split | None = None,
    shapes: Sequence[tuple[int, int]] = ((40, 48),),
) -> Path:
    """Half of the people like reds and dislike blues, the others the reverse; two pictures a prompt. `splits` are dealt
    out in turn, and so are `shapes` (width and height in pixels); all opinions of the split `turned` are the other way
    round."""
    rows: dict[Split, list[str]] = {"train": [], "validation": [], "test": []}
    (folder / "images").mkdir(parents=True)
    for number in range(n_people):
        items = []
        for k in range(N_PROMPTS):
            for side in ("like", "dislike"):
                name = f"images/{number}-{k}-{side}.png"
                coloured(number, k, side, shapes[(number + k) % len(shapes)]).save(folder / name)
                items.append({"image": name, "side": side, "prompt": f"prompt {k}", "time": 86400.0 * k})
        split = splits[number % len(splits)]
        if split == turned:
            items = [{**item, "side": "dislike" if item["side"] == "like" else "like"} for item in items]
        rows[split].append(json.dumps({"user_id": f"user {number}", "items": items}))
    write_people(folder, rows)
    return folder


def write_people(folder: Path, rows: Mapping[Split, Sequence[str]]) -> None:
    """The shards of a folder of people, a line a person, and its `data.json`."""
    (folder / "people").mkdir(parents=True, exist_ok=True)
    shards: dict[str, list[str]] = {}
    for split, lines in rows.items():
        if lines:
            (folder / "people" / f"{split}-00000.jsonl").write_text("\n".join(lines) + "\n")
        shards[split] = [f"people/{split}-00000.jsonl"] if lines else []
    (folder / "data.json").write_text(json.dumps({"format": "prefgen people", "version": 1, "shards": shards}))


def coloured(number: int, k: int, side: str, shape: tuple[int, int] = (40, 48)) -> Image.Image:
    """A noisy picture, red or blue by whether person `number` likes reds and whether it is liked."""
    rng = np.random.default_rng(1000 * number + 10 * k + len(side))
    pixels = rng.integers(0, 90, (*shape[::-1], 3), dtype=np.uint8)
    pixels[..., 0 if (side == "like") == (number % 2 == 0) else 2] += 150
    return Image.fromarray(pixels)


def some_person(n_prompts: int, *, unprompted: int = 0, twice: bool = False) -> OwnPerson:
    """A person with a liked and a disliked picture a prompt, some more without one, and one picture under two prompts
    if `twice`."""
    picture = Image.new("RGB", (4, 4))
    items: list[HistoryItem] = []

    def add(side: Side, prompt: str | None, sha256: str) -> None:
        time_s = 86400.0 * len(items)
        items.append(HistoryItem(image=picture, sha256=sha256, side=side, prompt=prompt, time_s=time_s))

    for k in range(n_prompts):
        add("like", f"Prompt  {k}", f"liked {k}")
        add("dislike", f"prompt {k}", f"disliked {k}")
    for k in range(unprompted):
        add("like" if k % 2 else "dislike", None, f"unprompted {k}")
    if twice:
        add("like", "another prompt", "liked 0")
    return person_of(f"{n_prompts} {unprompted} {twice}", items, 100)
