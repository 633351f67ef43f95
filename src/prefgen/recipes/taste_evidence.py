"""Evidence of taste (`prefgen.embedding.evidence`): reading words from pictures, then opinions from people's histories.

The reader sees training pictures and their twins, whose words are known. Opinions are learned on the conversations of
preference fine-tuning (`recipes.vqa_packs`: weights, ages, aspects, comments, words said, other people's histories), by
cross-entropy on every yes/no question and the contrastive preference loss on its pairs. How evidence and the preference
model's own answer are weighed is fitted on half of the validation people and reported on the other half.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from prefgen.agents import FAMILIES
from prefgen.core import numpy_rng
from prefgen.embedding import EvidenceConfig, Manner, Opinions, Shown, TasteEvidence
from prefgen.embedding.evidence import WordReader
from prefgen.mllm import Told, calibration_error
from prefgen.pipeline.scoring import shown_by
from prefgen.pipeline.word_edits import WordEdits
from prefgen.recipes.checkpoint import fingerprint, load_tensors, save_json, save_tensors
from prefgen.recipes.context import Context
from prefgen.recipes.loop import Loop, LoopSettings
from prefgen.recipes.manners import manner_of_pictures
from prefgen.recipes.mllm_people import ASPECT_FAMILIES, N_PICTURES, people_pictures
from prefgen.recipes.people_features import clip_embeddings, loaded_mllm
from prefgen.recipes.picture_words import CHOICES, words_in
from prefgen.recipes.preference_vqa import people_features
from prefgen.recipes.ranks import alone, by_turns, is_first, over_ranks, own
from prefgen.recipes.twins import Twins, twins_of
from prefgen.recipes.vqa_evaluation import evaluation_history, evaluation_pack, yes_margins
from prefgen.recipes.vqa_packs import KINDS, Asked, pack_of

READER_WEIGHT_DECAY, OPINION_WEIGHT_DECAY = 0.05, 0.01
CONTRAST = 0.5
"""Weight of the preference loss beside the cross-entropy of the answers."""
SAID_DECAY = 1.0
"""L2 penalty (scikit-learn's 1/C) of the three weights between evidence and the model's answer."""


def words_with_aspects() -> tuple[tuple[str, str, str], ...]:
    """(word, family, aspect) of every worded value."""
    aspect_of = {family: aspect for aspect, families in ASPECT_FAMILIES.items() for family in families}
    return tuple((word, family, aspect_of[family]) for family, words in FAMILIES.items() for word in words)


def read_words(c: Context, twins: Twins) -> WordReader:
    """A reader taught the words of the training pictures and of their twins."""
    manner_free = EvidenceConfig(d_clip=twins.own.shape[1], d_manner=1, words=words_with_aspects())
    torch.manual_seed(c.preset.seed)
    reader = WordReader(manner_free)
    n = len(twins.clip)
    known = torch.tensor([words_in(twins.scene(i)) for i in range(n)])[:, [list(CHOICES).index(f) for f in FAMILIES]]
    both = twins.own[:n].float(), twins.clip.float()
    reader.mean.copy_(both[0].mean(0))
    reader.deviation.copy_(both[0].std(0).clamp_min(1e-6))

    def loss(step: int, generator: torch.Generator) -> dict[str, Tensor]:
        rows = torch.randint(n, (c.preset.evidence_batch * 2,), generator=generator)
        rows = own(rows)
        return {"loss": over_ranks(_reading_loss(reader, both[step % 2][rows], known[rows]), len(rows))}

    settings = LoopSettings(
        n_samples=c.preset.evidence_reading_samples,
        batch_size=2 * c.preset.evidence_batch,
        learning_rate=2e-3,
        weight_decay=READER_WEIGHT_DECAY,
        seed=c.preset.seed,
        bf16=False,
    )
    Loop("evidence_words", c.work, reader, loss, settings, made_from=fingerprint(c.out / "image_encoder")).run(
        c.deadline
    )
    return reader.eval().requires_grad_(False)


def _reading_loss(reader: WordReader, seen: Tensor, words: Tensor) -> Tensor:
    told = zip(reader.choices(seen), words.unbind(1))
    return torch.stack([F.cross_entropy(logits, number) for logits, number in told]).sum()


@by_turns
def embedded_people(c: Context, split: str, n_people: int, n_painted: int) -> Tensor:
    """float16 [n_people * N_PICTURES, d_clip]: the embeddings of the first of a split's `n_painted` question people,
    computed once."""
    path = c.work / "people" / f"{split}.{n_people}.{fingerprint(c.out / 'image_encoder')}.safetensors"
    if not path.exists():
        pictures = people_pictures(c.work, split, n_painted)[:n_people]
        save_tensors(path, {"clip": clip_embeddings(c.out, pictures.reshape(-1, *pictures.shape[2:]))})
    return load_tensors(path)["clip"]


def batch_of(histories: list[Shown]) -> Shown:
    """Histories of one as a batch, padded with pictures that weigh nothing."""
    n = max(one.side.shape[1] for one in histories)
    padded = ("words", "manner", "side", "weights", "ages", "aspects", "comments")

    def stacked(name: str) -> Tensor:
        parts = [getattr(one, name) for one in histories]
        if name not in padded:
            return torch.cat(parts)
        return torch.cat([F.pad(x, (0, 0) * (x.ndim - 2) + (0, n - x.shape[1])) for x in parts])

    return Shown(**{name: stacked(name) for name in Shown.__dataclass_fields__})


class People:
    """A split's question people as evidence sees them: histories as told, pictures by their keys."""

    @torch.no_grad()
    def __init__(self, evidence: TasteEvidence, embeddings: Tensor) -> None:
        self.config, self.n_people = evidence.config, len(embeddings) // N_PICTURES
        parts = [evidence.seen(part.float()) for part in embeddings.split(4096)]
        self.words, self.manner = (torch.cat(found) for found in zip(*parts))

    def shown(self, items: tuple[Told, ...], notes: tuple[tuple[str, ...], tuple[str, ...]]) -> Shown:
        """One history whose pictures are keys."""
        keys = torch.tensor([item.picture for item in items], dtype=torch.long)
        edits = WordEdits(like=notes[0], dislike=tuple(word for word in notes[1] if word not in notes[0]))
        return shown_by(items, (self.words[keys], self.manner[keys]), edits, self.config)

    def margins(self, opinions: Opinions, keys: Tensor) -> Tensor:
        """Log odds [batch, n] of the pictures `keys` [batch, n]."""
        return opinions.margins(self.words[keys], self.manner[keys])


def opinion_losses(evidence: TasteEvidence, people: People, asked: list[Asked]) -> dict[str, Tensor]:
    """Cross-entropy of all yes/no questions, and the preference loss on the pairs among them."""
    asked = own(asked)
    opinions = evidence(batch_of([people.shown(one.items, one.notes) for one in asked]))
    questions = [[b for b in one.pack.branches if b.kind == "yes_no"] for one in asked]
    n = max(map(len, questions))
    keys, labels = torch.zeros(len(asked), n, dtype=torch.long), torch.full((len(asked), n), -1.0)
    pairs: list[tuple[int, int, int]] = []
    for row, (one, branches) in enumerate(zip(asked, questions)):
        keys[row, : len(branches)] = torch.tensor([branch.question[0] for branch in branches])
        labels[row, : len(branches)] = torch.tensor([float(str(b.answer).startswith("Yes")) for b in branches])
        places = [place for place, branch in enumerate(one.pack.branches) if branch.kind == "yes_no"]
        at = {place: k for k, place in enumerate(places)}
        pairs += [(row, at[liked], at[disliked]) for liked, disliked in one.pairs]
    return answer_losses(people.margins(opinions, keys), labels, pairs)


def answer_losses(margins: Tensor, labels: Tensor, pairs: Sequence[tuple[int, int, int]]) -> dict[str, Tensor]:
    """Losses of the log odds [batch, n] of likes (1) and dislikes (0; below 0: not asked), and of the pairs (history,
    place of the liked picture, place of the disliked one) among them."""
    told = labels >= 0
    n_told = int(told.sum())
    answers = over_ranks(F.binary_cross_entropy_with_logits(margins[told], labels[told]), n_told)
    contrast = answers.new_zeros(())
    if pairs:
        rows, liked, disliked = torch.tensor(pairs).unbind(1)
        contrast = F.softplus(margins[rows, disliked] - margins[rows, liked]).mean()
    contrast = over_ranks(contrast, len(pairs))
    right = over_ranks(((margins[told] > 0) == (labels[told] > 0.5)).float().mean(), n_told)
    return {"loss": answers + CONTRAST * contrast, "answers": answers, "contrast": contrast, "accuracy": right}


def conversations(step: int, n_people: int, n: int, seed: int) -> list[Asked]:
    """The packs of a step, a pure function of it."""
    rng = numpy_rng("taste evidence", seed, step)
    kinds = rng.choice(list(KINDS), n, p=np.array(list(KINDS.values())) / sum(KINDS.values()))
    people = rng.choice(n_people, n, replace=n > n_people)
    return [pack_of(rng, int(i), "train", str(kind)) for i, kind in zip(people, kinds)]  # type: ignore[arg-type]


def train_evidence(c: Context) -> None:
    """Trains, weighs against the preference model's answer and saves to `out/evidence`. A tower or a preference model
    other than it was made from makes it anew."""
    folder, done = c.out / "evidence", c.work / "evidence.json"
    made_from = fingerprint(c.out / "image_encoder", c.out / "mllm")
    if (folder / "model.safetensors").exists() and done.exists() and json.loads(done.read_text()) == made_from:
        return
    p, twins = c.preset, twins_of(c)
    reader, manner = read_words(c, twins), manner_of_pictures(c)
    evidence = untrained(reader, manner, p.seed)
    people = People(evidence, embedded_people(c, "train", min(p.n_users, p.evidence_people), p.n_users))

    def loss(step: int, generator: torch.Generator) -> dict[str, Tensor]:
        return opinion_losses(evidence, people, conversations(step, people.n_people, p.evidence_batch, p.seed))

    settings = LoopSettings(
        n_samples=p.evidence_samples,
        batch_size=p.evidence_batch,
        learning_rate=4e-3,
        weight_decay=OPINION_WEIGHT_DECAY,
        warmup_samples=p.evidence_samples // 20,
        decay_fraction=0.7,
        seed=p.seed,
        bf16=False,
    )
    Loop("evidence", c.work, evidence, loss, settings, made_from=made_from).run(c.deadline)
    if not is_first():
        return
    with alone():
        weighed, report = weigh(c, evidence.eval())
    save_json(c.work / "evidence_weighed.report.json", report)
    weighed.save(folder, torch.float32)
    save_json(done, made_from)


def untrained(reader: WordReader, manner: Manner, seed: int) -> TasteEvidence:
    """Evidence with a taught reader and a fitted manner, and opinions still to be learned."""
    d_clip, d_manner = manner.whiten.shape
    torch.manual_seed(seed)
    evidence = TasteEvidence(EvidenceConfig(d_clip=d_clip, d_manner=d_manner, words=words_with_aspects()))
    evidence.reader.load_state_dict(reader.state_dict())
    evidence.reader.requires_grad_(False)
    evidence.manner.load_state_dict(manner.state_dict())
    return evidence


def weigh(c: Context, evidence: TasteEvidence) -> tuple[TasteEvidence, dict[str, float]]:
    """The same evidence, weighed against the preference model's answer, both as they differ from what is said of
    nobody, and what either reaches on validation."""
    from sklearn.linear_model import LogisticRegression  # imported here: it takes a second

    mllm, n = loaded_mllm(c), c.preset.mllm_validation
    pictures = people_pictures(c.work, "validation", n)
    told = people_features(mllm.model, pictures, c.work / "people" / "validation.features.npy")
    people = People(evidence, embedded_people(c, "validation", n, n))
    margins: dict[tuple[str, int], np.ndarray] = {}
    for condition, n_each in (("own", 4), ("own", 8), ("other", 4), ("none", 0)):
        packs = [evaluation_pack(i, "validation", condition, n_people=n, n_each=n_each) for i in range(n)]
        said = yes_margins(mllm.model, mllm.processor, told, packs) / mllm.temperature
        histories = [evaluation_history(i, "validation", condition, n_people=n, n_each=n_each) for i in range(n)]
        with torch.no_grad():
            opinions = evidence(batch_of([people.shown(tuple(items), ((), ())) for items in histories]))
            keys = torch.tensor([[branch.question[0] for branch in pack.branches] for pack in packs])
            shown = people.margins(opinions, keys).numpy()
        margins[condition, n_each] = np.stack([shown, said])  # [2, n_people, n_questions]
    unknown = margins["none", 0]
    margins = {key: told - unknown for key, told in margins.items()}
    own = np.concatenate([margins["own", 4], margins["own", 8]], 2)
    labels = np.arange(own.shape[2])[None].repeat(n, 0) % 2 == 0
    fitted = LogisticRegression(C=1 / SAID_DECAY, max_iter=1000, fit_intercept=False)
    fitted.fit(own[:, 0::2].reshape(2, -1).T, labels[0::2].ravel())
    scale, said_share = (float(w) for w in fitted.coef_[0])
    config = replace(evidence.config, scale=scale, said_share=said_share)
    weighed = TasteEvidence(config)
    weighed.load_state_dict(evidence.state_dict())
    report = {"scale": scale, "said_share": said_share}
    for name, weights in {"evidence": (1.0, 0.0), "said": (0.0, 1.0), "both": (scale, said_share)}.items():
        odds = {key: weights[0] * of[0, 1::2] + weights[1] * of[1, 1::2] for key, of in margins.items()}
        for (condition, n_each), told_odds in odds.items():
            report |= {f"{name}_{condition}_{n_each}_{k}": v for k, v in _figures(told_odds).items()}
        p = 1 / (1 + np.exp(-odds["own", 4].ravel()))
        report[f"{name}_calibration_error"] = calibration_error(p, labels[1::2, : margins["own", 4].shape[2]].ravel())
    return weighed.eval(), report


def _figures(odds: np.ndarray) -> dict[str, float]:
    """Yes/no accuracy and which of two, on pairs that differ in everything (the first two) and in one attribute."""
    found = {}
    for kind, which in (("everything", slice(0, 2)), ("one", slice(2, None))):
        liked, disliked = odds[:, 0::2][:, which], odds[:, 1::2][:, which]
        found[f"{kind}_accuracy"] = float(((liked > 0).mean() + (disliked <= 0).mean()) / 2)
        found[f"{kind}_pairwise"] = float((liked > disliked).mean())
    return found
