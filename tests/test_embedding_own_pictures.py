"""What a person's own pictures say by themselves: how they look, and what sets the liked ones apart."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from prefgen.embedding import OwnPictures, appearances
from prefgen.embedding.appearance import SHADES, SIDE_PX


def flat(colour: tuple[int, int, int] = (200, 40, 40), side_px: int = SIDE_PX) -> Image.Image:
    return Image.new("RGB", (side_px, side_px), colour)


def grainy(seed: int, strength: int, side_px: int = SIDE_PX) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray((128 + rng.integers(-strength, strength + 1, (side_px, side_px, 3))).astype(np.uint8))


def test_shares_are_whole_and_tell_flat_from_grainy() -> None:
    surface, colours = appearances([flat(), grainy(0, 3), grainy(0, 90)])
    for view in (surface, colours):
        torch.testing.assert_close(view.square().sum(1), torch.ones(3), atol=1e-4, rtol=0)
    assert surface[0, 0] == 1, "no step at all between neighbours"
    mean_class = (surface.square() * torch.arange(surface.shape[1])).sum(1)
    assert mean_class[0] < mean_class[1] < mean_class[2]


def test_a_colour_is_divided_among_the_shades_around_it() -> None:
    step = 255 / (SHADES - 1)
    _, colours = appearances([flat((0, 0, 0)), flat((255, 255, 255)), flat((int(step / 2), 0, 0))])
    shares = colours.square()
    assert shares[0, 0] == 1
    assert shares[1, -1] == 1
    assert shares[2, 0] == pytest.approx(0.5, abs=0.02)
    assert shares[2, SHADES**2] == pytest.approx(0.5, abs=0.02)


def test_a_flat_picture_stays_flat_in_any_size_and_shape() -> None:
    surface, colours = appearances([flat(), flat(side_px=17), Image.new("RGB", (300, 90), (200, 40, 40))])
    torch.testing.assert_close(surface, surface[:1].expand(3, -1))
    torch.testing.assert_close(colours, colours[:1].expand(3, -1))
    assert [len(view) for view in appearances([])] == [0, 0]


def regression(n_each: int = 4, weights: list[float] | None = None) -> tuple[OwnPictures, list[Image.Image]]:
    """Someone who likes flat pictures and dislikes grainy ones, in whatever colour."""
    colours = [(40 * k, 255 - 40 * k, 90) for k in range(n_each)]
    shown = [*map(flat, colours), *(grainy(k, 60) for k in range(n_each))]
    labels = torch.tensor([1.0, -1.0]).repeat_interleave(n_each)
    spoken = torch.ones(2 * n_each) if weights is None else torch.tensor(weights)
    return OwnPictures(appearances(shown), labels, spoken), shown


def test_what_sets_liked_pictures_apart_is_found_in_pictures_of_other_colours() -> None:
    own, _ = regression()
    liked, disliked = own.margins(appearances([flat((10, 10, 240)), grainy(9, 60)])).tolist()
    assert liked > 0.2
    assert disliked < -0.2


def test_what_the_others_say_of_a_picture_is_what_a_regression_without_it_says() -> None:
    torch.manual_seed(0)
    view, labels = torch.randn(6, 5), torch.tensor([1.0, 1, 1, -1, -1, -1])
    view = torch.cat([view, -view])  # a middle and a spread that do not move much when one row is left out
    labels = torch.cat([labels, -labels])
    own = OwnPictures([view], labels, torch.ones(12))
    for k in range(3):
        # the same kernel, so the closed form is checked and not the standard scores
        kept = [i for i in range(12) if i != k]
        kernel = own._towards(own.views)
        system = torch.zeros(12, 12, dtype=torch.float64)
        system[:11, :11] = kernel[kept][:, kept] + torch.eye(11)
        system[:11, 11] = system[11, :11] = 1
        solved = torch.linalg.solve(system, torch.cat([labels[kept].double(), torch.zeros(1, dtype=torch.float64)]))
        assert float(own.left_out()[k]) == pytest.approx(float(kernel[k, kept] @ solved[:11] + solved[11]), abs=1e-9)


def test_a_picture_that_weighs_little_says_little() -> None:
    colours = appearances([flat((10, 10, 240))])
    even, _ = regression()
    faint, _ = regression(weights=[1, 1, 1, 1e-3, 1, 1, 1, 1])
    gone = OwnPictures(
        [view[[0, 1, 2, 4, 5, 6, 7]] for view in even.views], even.labels[[0, 1, 2, 4, 5, 6, 7]], torch.ones(7)
    )
    assert abs(faint.margins(colours) - gone.margins(colours)) < abs(even.margins(colours) - gone.margins(colours))


def test_one_side_alone_says_nothing() -> None:
    own = OwnPictures(appearances([flat(), grainy(0, 9)]), torch.ones(2), torch.ones(2))
    assert not own.says_something
    assert own.margins(appearances([flat()])).tolist() == [0]
    assert own.left_out().tolist() == [0, 0]


def test_a_picture_like_none_of_them_is_no_surer_than_they_are() -> None:
    view = torch.tensor([[1.0, 0.1], [0.9, -0.1], [-1.0, 0.1], [-0.9, -0.1]])
    own = OwnPictures([view], torch.tensor([1.0, 1, -1, -1]), torch.ones(4))
    near, far = own.margins([torch.tensor([[1.0, 0.0], [1e4, 0.0]])]).tolist()
    assert 0 < near <= far < 1.2
