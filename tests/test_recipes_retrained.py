"""Ablations that need training: what is varied, how figures are put together, and pictures by fused tokens."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from prefgen.alignment import ALIGNMENT_LOSSES
from prefgen.embedding import PARTS
from prefgen.probing import LayerChoice
from prefgen.recipes.adapter_words import MMD_WEIGHT, drawn_to_strings
from prefgen.recipes.retrained import VARIANTS
from prefgen.recipes.retrained.painting import Retrained
from prefgen.recipes.retrained.run import QUESTIONS, rows_of
from prefgen.recipes.retrained.training import file_name, linear_cka
from prefgen.recipes.retrained.variants import REFERENCE, Variant, by_bandwidths, by_loss, unaligned

PROBED = LayerChoice(e_core=(2, 3), e_sem=(5, 6), reason="planted")


def test_variants_are_few_and_each_belongs_to_a_question() -> None:
    names = [v.name for v in VARIANTS]
    assert len(names) == len(set(names)) <= 20
    assert len({file_name(v, 0) for v in VARIANTS}) == len(names)
    assert {v.question for v in VARIANTS} <= set(QUESTIONS)
    assert REFERENCE in names
    assert {v.heard for v in VARIANTS} >= {PARTS, ("img",), ("sem", "img")}
    assert set(ALIGNMENT_LOSSES) <= set(names)


def test_layers_are_those_of_the_probes_or_those_named() -> None:
    chosen = {v.layers: v.layer_choice(PROBED, 13) for v in VARIANTS}
    assert chosen["probed"] is PROBED
    assert chosen["top four"].e_sem == chosen["top four"].e_core == (9, 10, 11, 12)
    assert chosen["lowest four"].e_core == (0, 1, 2, 3)
    assert chosen["all"].e_sem == tuple(range(13))
    assert Variant(name="x", question="layers", layers="top four").layer_choice(PROBED, 2).e_sem == (0, 1)


@pytest.mark.parametrize("variant", VARIANTS, ids=[v.name for v in VARIANTS])
def test_every_alignment_pulls_a_far_cloud_nearer_or_says_nothing(variant: Variant) -> None:
    generator = torch.Generator().manual_seed(0)
    strings = torch.randn(24, 6, generator=generator)
    far = (strings.roll(1, 0) + 2 + torch.randn(24, 6, generator=generator)).requires_grad_()
    losses = variant.align(far, strings)
    assert all(torch.isfinite(loss) for loss in losses.values())
    whole = torch.stack(list(losses.values())).sum()
    if variant.align is unaligned:
        assert float(whole) == 0
        return
    whole.backward()
    assert far.grad is not None
    nearer = variant.align((far - 0.05 * far.grad / far.grad.norm()).detach(), strings)
    assert float(torch.stack(list(nearer.values())).sum()) < float(whole.detach())


def test_one_loss_has_the_weight_that_mmd_has() -> None:
    x, y = torch.randn(2, 12, 4, generator=torch.Generator().manual_seed(1))
    assert set(drawn_to_strings(x, y)) == {"mmd", "own"}
    torch.testing.assert_close(by_loss("mmd")(x, y)["aligned"], drawn_to_strings(x, y)["mmd"])
    torch.testing.assert_close(by_loss("mse")(x, y)["aligned"], MMD_WEIGHT * (x - y).square().mean())
    torch.testing.assert_close(by_bandwidths(1.0)(x, y)["aligned"], drawn_to_strings(x, y)["mmd"])
    assert by_bandwidths(4.0)(x, y)["aligned"] != by_bandwidths(1.0, single=True)(x, y)["aligned"]


def test_two_readings_agree_as_far_as_they_are_turned_copies() -> None:
    generator = torch.Generator().manual_seed(2)
    a = torch.randn(200, 8, generator=generator)
    turn = torch.linalg.qr(torch.randn(8, 8, generator=generator)).Q
    assert linear_cka(a, 3 * a @ turn + 5) == pytest.approx(1.0)
    assert linear_cka(a, torch.randn(200, 8, generator=generator)) < 0.2


def test_rows_compare_seeds_people_and_the_reference() -> None:
    variants = [v for v in VARIANTS if v.name in (REFERENCE, "without e_img")]

    def found(worth: float, top1: float) -> dict:
        by_user = {f"utility_{t}": [worth, worth + 0.2] for t in ("worded", "wordless", "total")}
        return {
            "by_user": by_user | {"subject_accuracy": [1.0, 0.5]},
            "figures": {"retrieval_top1": top1, "mmd2": 0.1},
        }

    table = {
        (REFERENCE, 0): found(0.3, 0.4),
        (REFERENCE, 1): found(0.5, 0.6),
        ("without e_img", 0): found(0.1, 0.2),
        ("without e_img", 1): found(0.1, 0.2),
    }
    rows = {(r.method, r.metric): r for r in rows_of(variants, (0, 1), table)}
    assert rows[REFERENCE, "utility_total@parts"].value == pytest.approx(0.5)
    seeds = rows[REFERENCE, "utility_total_of_seeds@parts"]
    assert (seeds.low, seeds.high, seeds.n) == (pytest.approx(0.4), pytest.approx(0.6), 2)
    assert rows["without e_img", f"above:{REFERENCE}@parts"].value == pytest.approx(-0.3)
    assert (REFERENCE, f"above:{REFERENCE}@parts") not in rows
    assert rows[REFERENCE, "retrieval_top1@parts"].value == pytest.approx(0.5)


@pytest.mark.parametrize("fusion", ["appended to the text", "added to the text"])
def test_fused_states_hold_the_text_and_the_person(fusion: str) -> None:
    method = object.__new__(Retrained)
    method.variant = SimpleNamespace(fusion=fusion)  # type: ignore[assignment]
    states, tokens = torch.randn(2, 5, 4), torch.randn(2, 3, 4)
    fused = method.fused(states, tokens, 0.5)
    if fusion == "appended to the text":
        assert torch.equal(fused[:, :5], states)
        torch.testing.assert_close(fused[:, 5:], 0.5 * tokens)
    else:
        torch.testing.assert_close(fused - states, (0.5 * tokens.mean(1, keepdim=True)).expand(2, 5, 4))
    assert torch.equal(method.fused(states, tokens, 0.0)[:, :5], states)
