"""Learning evidence of taste: the same conversations again, padding that changes nothing, opinions that learn alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from prefgen.agents import FAMILIES
from prefgen.embedding import Manner, TasteEvidence
from prefgen.embedding.evidence import EvidenceConfig, WordReader
from prefgen.recipes.mllm_people import ASPECT_FAMILIES, N_PICTURES, scenes_of
from prefgen.recipes.taste_evidence import (
    People,
    batch_of,
    conversations,
    opinion_losses,
    untrained,
    words_with_aspects,
)
from prefgen.recipes.vqa_evaluation import evaluation_history, evaluation_pack

N_PEOPLE, D_CLIP = 24, 80


class ReadsWords(WordReader):
    """Reads what the embeddings below hold: each word's probability as it is."""

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        return embeddings[..., : sum(map(len, FAMILIES.values()))]


def known_people() -> tuple[TasteEvidence, People]:
    """People whose pictures' embeddings are the words they show."""
    words = [word for word, _, _ in words_with_aspects()]
    shown = torch.zeros(N_PEOPLE * N_PICTURES, D_CLIP)
    for person in range(N_PEOPLE):
        for slot, scene in enumerate(scenes_of(person, "train")):
            for value in scene.values.values():
                shown[person * N_PICTURES + slot, words.index(value)] = 1.0
    reader = ReadsWords(EvidenceConfig(d_clip=D_CLIP, d_manner=1, words=words_with_aspects(), reading_width=4))
    evidence = untrained(
        WordReader(EvidenceConfig(d_clip=D_CLIP, d_manner=1, words=words_with_aspects())), Manner(D_CLIP, 2), 0
    )
    evidence.reader = reader.requires_grad_(False)
    return evidence, People(evidence, shown)


def test_every_word_has_the_aspect_of_its_family() -> None:
    for word, family, aspect in words_with_aspects():
        assert word in FAMILIES[family]
        assert family in ASPECT_FAMILIES[aspect]  # type: ignore[index]


def test_a_steps_conversations_are_a_pure_function_of_it() -> None:
    first, again, next_one = (conversations(step, N_PEOPLE, 6, 0) for step in (3, 3, 4))
    assert [one.items for one in first] == [one.items for one in again]
    assert [one.items for one in first] != [one.items for one in next_one]
    kinds = {one.kind for step in range(40) for one in conversations(step, N_PEOPLE, 6, 0)}
    assert {"own", "weighted", "aged", "aspect", "other"} <= kinds


def test_a_history_in_a_batch_is_what_it_is_alone() -> None:
    evidence, people = known_people()
    histories = [people.shown(one.items, one.notes) for one in conversations(0, N_PEOPLE, 5, 0)]
    together = evidence(batch_of(histories))
    for row, alone in enumerate(histories):
        torch.testing.assert_close(evidence(alone).words[0], together.words[row])
        torch.testing.assert_close(evidence(alone).offset[0], together.offset[row])


def test_opinions_are_learned_and_what_reads_pictures_is_left_alone() -> None:
    evidence, people = known_people()
    before = {name: p.detach().clone() for name, p in evidence.named_parameters()}
    optimizer = torch.optim.Adam([p for p in evidence.parameters() if p.requires_grad], 1e-2)
    accuracy = []
    for step in range(60):
        losses = opinion_losses(evidence, people, conversations(step, N_PEOPLE, 16, 0))
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
        accuracy.append(float(losses["accuracy"]))
    assert np.mean(accuracy[-10:]) > 0.65
    assert np.mean(accuracy[-10:]) > np.mean(accuracy[:3]) + 0.05
    moved = {name for name, p in evidence.named_parameters() if not torch.equal(p, before[name])}
    assert not any(name.startswith("reader") for name in moved)
    assert {"fading", "note_worth", "comment_worth"} <= moved


@pytest.mark.parametrize("condition", ["own", "other", "none"])
def test_the_evaluated_history_is_the_one_that_the_language_model_is_told(condition: str) -> None:
    items = evaluation_history(3, "validation", condition, n_people=20)
    told = evaluation_pack(3, "validation", condition, n_people=20).history
    assert sorted(item.picture for item in items) == sorted(part for part in told if isinstance(part, int))
    assert bool(items) == (condition != "none")


def test_pictures_are_read_without_dropout_while_opinions_are_learned() -> None:
    reader = WordReader(EvidenceConfig(d_clip=D_CLIP, d_manner=1, words=words_with_aspects()))
    evidence = untrained(reader, Manner(D_CLIP, 2), 0).train()
    embeddings = torch.randn(3, D_CLIP)
    torch.testing.assert_close(evidence.seen(embeddings)[0], evidence.seen(embeddings)[0])
    assert evidence.training
    assert not evidence.reader.training
