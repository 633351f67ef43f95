"""How far a method's pictures lie from those that people like, as a distribution: MMD² with people as the sample.

Pictures of one person are alike, so they are no independent draws; people are. The estimator is Gretton et al., JMLR
2012, equation 4, on people: the mean over pairs of different people u ≠ v of
`k(x_u, x_v) + k(y_u, y_v) - k(x_u, y_v) - k(x_v, y_u)`, unbiased, where x_u is one of u's pictures by the method and
y_u one that u likes. Papers average over random subsets of the pictures; the subsets here hold one picture of each
person, and the mean over all of them has a closed form: each person's kernel values are averaged first.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

Kernel = Callable[[Tensor, Tensor], Tensor]
"""Two clouds [n, d] and [m, d] to their kernel values [n, m]."""


def pairs_of_people(kernel: Kernel, made: np.ndarray, liked: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """float64 [n_people, n_people]: the term of each pair of people, averaged over all choices of their pictures.

    `made` and `liked` float [n, d] are features of a method's pictures and of liked ones, row k of both belonging to
    the person `owners[k]`. The diagonal means nothing: a person makes no pair with themselves.
    """
    people = np.unique(owners)
    mean = (owners[None] == people[:, None]).astype(np.float64)
    mean /= np.maximum(mean.sum(1, keepdims=True), 1)
    x, y = (torch.from_numpy(np.asarray(side, dtype=np.float64)) for side in (made, liked))
    xx, yy, xy = (mean @ kernel(a, b).numpy() @ mean.T for a, b in ((x, x), (y, y), (x, y)))
    return xx + yy - xy - xy.T
