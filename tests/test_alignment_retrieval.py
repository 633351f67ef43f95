"""Retrieval catches what MMD cannot: the right cloud with the wrong people."""

import pytest
import torch

from prefgen.alignment import mmd2_unbiased, retrieval_top1
from prefgen.core import InputError, torch_generator


def cloud(n: int, d: int, *name: object) -> torch.Tensor:
    return torch.randn(n, d, generator=torch_generator("retrieval cloud", *name))


def test_a_permuted_map_is_caught_where_mmd_is_blind() -> None:
    targets = cloud(200, 16, "targets")
    mapped = targets + 0.1 * cloud(200, 16, "noise")
    permuted = mapped.roll(1, 0)
    assert torch.allclose(mmd2_unbiased(mapped, targets), mmd2_unbiased(permuted, targets), atol=1e-6)
    assert retrieval_top1(mapped, targets).accuracy > 0.99
    caught = retrieval_top1(permuted, targets)
    assert caught.low <= 0.05
    assert caught.accuracy < 0.08


def test_unrelated_clouds_score_chance() -> None:
    result = retrieval_top1(cloud(2000, 16, "a"), cloud(2000, 16, "b"), n_candidates=50)
    assert result.chance == 0.02
    assert result.low <= 0.02 <= result.high
    assert (result.n_users, result.n_candidates) == (2000, 50)


def test_a_large_shared_mean_hides_nobody() -> None:
    targets = cloud(100, 16, "targets")
    assert retrieval_top1(50 + targets, targets - 7).accuracy == 1.0


def test_a_collapsed_map_and_doubled_strings_score_what_guessing_would() -> None:
    targets = cloud(60, 16, "targets")
    assert retrieval_top1(torch.full((60, 16), 3.0), targets).accuracy == pytest.approx(1 / 50)
    doubled = targets[:30].repeat(2, 1)
    assert retrieval_top1(doubled, doubled, n_candidates=60).accuracy == pytest.approx(0.5)


def test_candidates_are_all_users_where_there_are_fewer() -> None:
    targets = cloud(10, 16, "targets")
    result = retrieval_top1(targets, targets)
    assert (result.accuracy, result.n_candidates, result.chance) == (1.0, 10, 0.1)


def test_more_candidates_make_it_harder_and_the_interval_holds_the_accuracy() -> None:
    targets = cloud(300, 8, "targets")
    mapped = targets + cloud(300, 8, "noise")
    few, many = (retrieval_top1(mapped, targets, n_candidates=n) for n in (5, 200))
    assert many.accuracy < few.accuracy
    for result in (few, many):
        assert result.low < result.accuracy < result.high
        assert result.high - result.low < 0.15


def test_is_a_function_of_its_seed() -> None:
    targets = cloud(100, 4, "targets")
    mapped = targets + cloud(100, 4, "noise")
    assert retrieval_top1(mapped, targets, 10, seed=1) == retrieval_top1(mapped, targets, 10, seed=1)
    assert retrieval_top1(mapped, targets, 10, seed=1) != retrieval_top1(mapped, targets, 10, seed=2)


def test_refuses_unequal_rows_and_a_single_candidate() -> None:
    with pytest.raises(InputError, match="row by row"):
        retrieval_top1(cloud(4, 3, "a"), cloud(5, 3, "b"))
    with pytest.raises(InputError, match="at least 2 points"):
        retrieval_top1(cloud(1, 3, "a"), cloud(1, 3, "b"))
    with pytest.raises(InputError, match="at least 2 candidates"):
        retrieval_top1(cloud(4, 3, "a"), cloud(4, 3, "b"), n_candidates=1)
