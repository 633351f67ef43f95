"""Preference fine-tuning: the language model learns to tell from liked and disliked pictures what a person likes.

The vision tower and the connector stay frozen, so each picture's tokens are made once. Cross-entropy on the answers,
the contrastive preference loss on a user's liked and disliked query, and a contrast that finds the same user again
in another history.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prefgen.agents import FAMILIES, Taste, all_values
from prefgen.core import Side, numpy_rng, seed_of
from prefgen.mllm import (
    PackedBatch,
    answer_loss,
    answer_token,
    captured_layers,
    chat_frame,
    merged,
    pack,
    pictures_in,
    preference_loss,
    run_packed,
    same_user_loss,
    save_lora,
    with_lora,
)
from prefgen.recipes.checkpoint import save_json
from prefgen.recipes.context import Context
from prefgen.recipes.loop import Loop, LoopSettings
from prefgen.recipes.mllm_people import people_pictures
from prefgen.recipes.mllm_pretrain import image_tokens, save_mllm
from prefgen.recipes.preference_matching import learn_matching
from prefgen.recipes.presets import Preset
from prefgen.recipes.ranks import by_turns, every_rows, is_first, over_ranks, own
from prefgen.recipes.vqa_evaluation import evaluate_packed
from prefgen.recipes.vqa_packs import KINDS, Asked, own_pack, pack_of

EASY_SHARE = 0.2
"""Share of the fine-tuning that begins with true labels and own histories only."""
SIDE_LOSS, PICTURES_LOSS, TASTE_LOSS = 0.5, 1.0, 0.5
"""Weights of the throw-away heads' losses."""
QUESTIONS_PER_PACK = 12
"""Questions that one history counts for in the number of samples seen."""


@by_turns
@torch.no_grad()
def people_features(model: Any, pictures: np.ndarray, path: Path, *, batch: int = 240) -> np.ndarray:
    """float16 [n_people · N_PICTURES, n_tokens, d]: every picture's tokens by the frozen vision tower, made once."""
    flat = pictures.reshape(-1, *pictures.shape[2:])
    towers = (*model.model.vision_model.parameters(), *model.model.connector.parameters())
    weights = float(sum(p.detach().double().abs().sum() for p in towers))
    head, wanted = path.with_suffix(".json"), {"n": len(flat), "weights": weights}
    if not head.exists() or json.loads(head.read_text()) != wanted:
        model.eval()
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = (len(flat), *image_tokens(model, flat[:1]).shape[1:])
        out = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
        for i in range(0, len(flat), batch):
            out[i : i + batch] = image_tokens(model, flat[i : i + batch]).numpy()
        out.flush()
        save_json(head, wanted)
    return np.load(path, mmap_mode="r")


class PreferenceTraining(nn.Module):
    """The model in training, with throw-away heads on states on the way.

    `side_head` reads from a history picture's tokens at a quarter of the depth whether the picture was liked;
    `taste_head` reads from them at half of it every word that the person holds on that picture's side, so that each
    comes to stand for what its side has in common; `answer_heads` read yes or no from a query picture's last token at
    half and at two thirds; `heads` serve the same-user contrast on a middle and the last state. Without them, matching
    a query with a history is several things to be found at once (whose side a picture is on, what the side is about,
    which pictures are alike), and was not found.
    """

    def __init__(self, model: Any, *, lora_rank: int = 0) -> None:
        super().__init__()
        model.requires_grad_(False)
        if lora_rank:
            self.model = with_lora(model, rank=lora_rank)
        else:
            self.model = model
            model.model.text_model.requires_grad_(True)
            model.lm_head.requires_grad_(True)
        width, n_layers = model.config.text_config.hidden_size, model.config.text_config.num_hidden_layers
        self.quarter, self.halfway, self.middle = n_layers // 4, n_layers // 2, n_layers * 2 // 3
        self.heads = nn.ModuleList([nn.Linear(width, 64), nn.Linear(width, 64)])
        self.side_head = nn.Linear(width, 2)
        self.taste_head = nn.Linear(width, len(all_values()))
        self.answer_heads = nn.ModuleList([nn.Linear(width, 2), nn.Linear(width, 2)])

    @property
    def plain(self) -> Any:
        """The transformers model (with LoRA layers inside, if any)."""
        return self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model


def batch_at(step: int, *, n_people: int, n_packs: int, seed: int, n_easy_steps: int = 0) -> tuple[list[Asked], bool]:
    """The packs of a step, a pure function of it; every second step holds two disjoint histories of each person.

    The first `n_easy_steps` tell true labels and each person's own history only: matching a query with a history has
    to be learned before it can be learned from noisy ones.
    """
    easy = step < n_easy_steps
    rng = np.random.default_rng(seed_of("preference_vqa", seed, step))
    if step % 2 == 0:
        packs = []
        for index in rng.choice(n_people, n_packs // 2, replace=False):
            divide = int(rng.integers(2**31))
            for half in (0, 1):
                packs.append(own_pack(rng, int(index), "train", half=half, divide_rng=numpy_rng(divide), easy=easy))
        return packs, True
    kinds = rng.choice(list(KINDS), n_packs, p=np.array(list(KINDS.values())) / sum(KINDS.values()))
    people = rng.choice(n_people, n_packs, replace=False)
    if easy:
        return [own_pack(rng, int(i), "train", easy=True) for i in people], False
    return [pack_of(rng, int(i), "train", str(kind)) for i, kind in zip(people, kinds)], False  # type: ignore[arg-type]


def preference_losses(
    module: PreferenceTraining,
    batch: PackedBatch,
    asked: list[Asked],
    features: Tensor,
    answers: tuple[int, int],
    *,
    twins: bool,
    contrast: float,
    same_user: float,
) -> dict[str, Tensor]:
    """All losses of a step. `features` [n_pictures, n_tokens, d] as the batch's pictures stand; `answers` Yes, No.

    Batch, packs and features are this rank's own; the losses are those over all ranks.
    """
    model = module.plain
    with captured_layers(model, sorted({module.quarter, module.halfway, module.middle})) as states:
        hidden = run_packed(model, batch, features)
    spoken, labels = spoken_losses(model, hidden, batch, asked, answers)
    ends = {(r, asked[r].pack.branches[k].kind): at for (r, k), at in batch.ends.items()}
    on_the_way = losses_on_the_way(module, batch, asked, states, labels, features.shape[1])
    losses = {name: spoken[name] for name in ("answers", "yes_no", "contrast")} | on_the_way
    losses["accuracy"] = spoken["accuracy"]
    total = losses["answers"] + losses["yes_no"] + contrast * losses["contrast"]
    total = total + SIDE_LOSS * losses["side"] + PICTURES_LOSS * losses["pictures"]
    total = total + TASTE_LOSS * losses["taste"]
    if twins and same_user:
        places = [(r, ends[r, "likes"]) for r in range(len(asked))]
        read = [_at(states[module.middle], places), _at(hidden, places)]
        losses["same_user"] = sum(same_user_loss(every_rows(head(s))) for head, s in zip(module.heads, read)) / 2  # type: ignore[assignment]
        total = total + same_user * losses["same_user"]
    return {"loss": total, **losses}


def spoken_losses(
    model: Any, hidden: Tensor, batch: PackedBatch, asked: Sequence[Asked], answers: tuple[int, int]
) -> tuple[dict[str, Tensor], Tensor]:
    """What is lost in what the model says: cross-entropy of the `answers`' tokens, of Yes or No alone (`yes_no`), the
    contrastive preference loss (`contrast`), and the share of right `accuracy`; and the yes/no labels, 0 for Yes.

    `hidden` [b, s, d] are the last hidden states, `answers` the tokens of Yes and No.
    """
    learned = batch.targets >= 0
    ce = over_ranks(answer_loss(model.lm_head(hidden[learned]), batch.targets[learned]), int(learned.sum()))
    first = _at(hidden, [(r, at) for (r, k), at in batch.ends.items() if asked[r].pack.branches[k].kind == "yes_no"])
    truth = [asked[r].pack.branches[k].answer for (r, k) in batch.ends if asked[r].pack.branches[k].kind == "yes_no"]
    yes_no = model.lm_head(first)[:, list(answers)].float()
    labels = torch.tensor([0 if str(t).startswith("Yes") else 1 for t in truth], device=yes_no.device)
    yn = over_ranks(answer_loss(yes_no, labels), len(labels))
    pairs = [(r, good, bad) for r, one in enumerate(asked) for good, bad in one.pairs]
    liked, disliked = (
        model.lm_head(_at(hidden, [(r, batch.ends[r, pair[side]]) for r, *pair in pairs]))[:, list(answers)]
        for side in (0, 1)
    )
    cp = over_ranks(preference_loss(liked, disliked) if pairs else ce.new_zeros(()), len(pairs))
    accuracy = over_ranks((yes_no.argmax(1) == labels).float().mean(), len(labels))
    return {"answers": ce, "yes_no": yn, "contrast": cp, "accuracy": accuracy}, labels


def losses_on_the_way(
    module: PreferenceTraining,
    batch: PackedBatch,
    asked: list[Asked],
    states: dict[int, Tensor],
    labels: Tensor,
    n_tokens: int,
) -> dict[str, Tensor]:
    """`side` and `taste`, cross-entropies of their heads on the histories' pictures, and `pictures`, that of
    `answer_heads` on the yes/no queries.

    `labels` [n_yes_no] in the order of the batch's branches; `n_tokens` per picture.
    """
    image_token = module.plain.config.image_token_id
    shown, sides, queried = [], [], []
    spoken: list[tuple[int, int]] = []
    words: list[Tensor] = []
    for r, one in enumerate(asked):
        places = (batch.input_ids[r] == image_token).nonzero()[:, 0].tolist()
        n_shown = len(one.sides)
        shown += [(r, at) for at in places[: n_shown * n_tokens]]
        sides += [int(side == "dislike") for side in one.sides for _ in range(n_tokens)]
        if one.tastes:
            spoken += [(r, places[k * n_tokens + n_tokens - 1]) for k in range(n_shown)]
            words += [words_held(one.tastes, side) for side in one.sides]
        n_before = n_shown
        for branch in one.pack.branches:
            n_before += len(pictures_in(branch.question))
            if branch.kind == "yes_no":
                queried.append((r, places[n_before * n_tokens - 1]))
    read = [head(_at(states[k], queried)) for head, k in zip(module.answer_heads, (module.halfway, module.middle))]
    pictures = torch.stack([answer_loss(logits, labels) for logits in read]).mean()
    nothing = pictures.new_zeros(())
    side = answer_loss(module.side_head(_at(states[module.quarter], shown)), torch.tensor(sides)) if shown else nothing
    taste = taste_loss(module.taste_head(_at(states[module.halfway], spoken)), torch.stack(words)) if words else nothing
    return {
        "pictures": over_ranks(pictures, len(labels)),
        "side": over_ranks(side, len(sides)),
        "taste": over_ranks(taste, len(words)),
    }


def words_held(tastes: Sequence[Taste], side: Side) -> Tensor:
    """float32 [n_values]: 1 for every value that any of the tastes likes (or dislikes)."""
    held = {v for t in tastes for values in (t.likes if side == "like" else t.dislikes).values() for v in values}
    return torch.tensor([float(value in held) for value in all_values()])


def taste_loss(logits: Tensor, words: Tensor) -> Tensor:
    """Binary cross-entropy of every value, [n, n_values] both, summed over the values and divided by the families."""
    return F.binary_cross_entropy_with_logits(logits.float(), words, reduction="sum") / (len(words) * len(FAMILIES))


def _at(states: Tensor, places: list[tuple[int, int]]) -> Tensor:
    rows, columns = zip(*places) if places else ((), ())
    return states[torch.tensor(rows, dtype=torch.long), torch.tensor(columns, dtype=torch.long)]


def load_pretrained(folder: Path) -> tuple[Any, Any]:
    """Model and processor of a folder, in float32."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    return AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32), AutoProcessor.from_pretrained(
        folder
    )


def words() -> list[dict[str, str]]:
    """Every attribute word with its family: what `explain` can name."""
    return [{"word": v, "family": f} for f, values in FAMILIES.items() for v in values]


def vqa_settings(p: Preset) -> LoopSettings:
    """The loop over whole conversations."""
    return LoopSettings(
        n_samples=p.mllm_vqa_samples,
        batch_size=p.mllm_vqa_batch * QUESTIONS_PER_PACK,
        learning_rate=p.mllm_vqa_rate,
        warmup_samples=min(20_000, p.mllm_vqa_samples // 10),
        ema_decay=0.998,
        seed=p.seed,
    )


def train_preference_vqa(c: Context) -> None:
    """Fine-tunes, calibrates on validation people and saves to `out/mllm`."""
    folder = c.out / "mllm"
    if (folder / "model.safetensors").exists():
        return
    p = c.preset
    model, processor = load_pretrained(c.work / "mllm_pretrained")
    frame = chat_frame(processor)
    answers = answer_token(processor, frame, "Yes"), answer_token(processor, frame, "No")
    features, held_out = (
        people_features(model, people_pictures(c.work, split, n), c.work / "people" / f"{split}.features.npy")
        for split, n in (("train", p.n_users), ("validation", p.mllm_validation))
    )
    torch.manual_seed(p.seed)
    module = PreferenceTraining(model, lora_rank=p.mllm_lora_rank)
    n_easy_steps = int(EASY_SHARE * p.mllm_vqa_samples / (p.mllm_vqa_batch * QUESTIONS_PER_PACK))

    def losses_of(asked: list[Asked], twins: bool) -> dict[str, Tensor]:
        asked = own(asked)
        batch = pack(processor, frame, [one.pack for one in asked])
        rows = torch.from_numpy(features[batch.pictures].astype(np.float32))
        return preference_losses(
            module, batch, asked, rows, answers, twins=twins, contrast=p.mllm_contrast, same_user=p.mllm_same_user
        )

    def loss(step: int, generator: torch.Generator) -> dict[str, Tensor]:
        return losses_of(
            *batch_at(step, n_people=p.n_users, n_packs=p.mllm_vqa_batch, seed=p.seed, n_easy_steps=n_easy_steps)
        )

    report: dict[str, float] = {}

    def validate(_: nn.Module, __: int) -> dict[str, float]:
        current[-1].use_ema()
        report.update(evaluate_packed(module.plain, processor, held_out, p.mllm_validation))
        return report

    def matching_loop(packs: Callable[[int], list[Asked]], of: LoopSettings) -> Loop:
        def step_loss(step: int, generator: torch.Generator) -> dict[str, Tensor]:
            return losses_of(packs(step), False)

        current.append(Loop("preference_matching", c.work, module, step_loss, of, validate))
        return current[-1]

    current: list[Loop] = []
    if not (c.work / "preference_vqa.checkpoint.safetensors").exists():
        learn_matching(c, matching_loop)
    loop = Loop("preference_vqa", c.work, module, loss, vqa_settings(p), validate)
    current.append(loop)
    loop.run(c.deadline)
    loop.use_ema()
    if not is_first():
        return
    if p.mllm_lora_rank:
        save_lora(module.model, c.work / "mllm_lora")
    final = merged(module.model) if p.mllm_lora_rank else model
    save_json(folder / "calibration.json", {"temperature": report["temperature"]})
    save_json(folder / "words.json", words())
    save_mllm(final, processor, folder, torch.float16)


def parameter_names(module: nn.Module) -> Iterator[str]:
    """Names of what is trained."""
    return (name for name, parameter in module.named_parameters() if parameter.requires_grad)
