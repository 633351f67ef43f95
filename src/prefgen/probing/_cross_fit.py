"""The probe itself: nearest class mean in whitened space, that is linear discriminant analysis with equal priors.

One closed form serves two classes and a hundred, many rows a class and few. The within-class covariance is shrunk by
Ledoit and Wolf's formula ("A well-conditioned estimator for large-dimensional covariance matrices", 2004), so nothing
is tuned and fitting twice gives the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

N_COMPONENTS = 128


def standardised(
    fit_rows: Float[np.ndarray, "fit d"], test_rows: Float[np.ndarray, "test d"], n_components: int = N_COMPONENTS
) -> tuple[Float[np.ndarray, "fit k"], Float[np.ndarray, "test k"]]:
    """Both sets of rows centred, scaled and reduced to the `n_components` leading directions, all learned on the first.

    A coordinate that hardly varies against the size of the layer (rounding of a constant state) is not blown up.
    """
    fit_rows, test_rows = fit_rows.astype(np.float64), test_rows.astype(np.float64)
    mean = fit_rows.mean(0)
    smallest = 1e-5 * np.sqrt(np.mean(fit_rows**2)) + 1e-30
    scale = np.maximum(fit_rows.std(0), smallest)
    fit_rows, test_rows = (fit_rows - mean) / scale, (test_rows - mean) / scale
    if fit_rows.shape[1] <= n_components:
        return fit_rows, test_rows
    directions = np.linalg.svd(fit_rows, full_matrices=False)[2][:n_components].T
    return fit_rows @ directions, test_rows @ directions


def predict(
    fit_rows: Float[np.ndarray, "fit k"],
    fit_labels: Int[np.ndarray, " fit"],
    test_rows: Float[np.ndarray, "test k"],
    n_classes: int,
) -> Int[np.ndarray, " test"]:
    """Class of each test row. Labels run from 0, and every class has a row to fit on.

    Where no class has two, no spread within classes can be seen; the spread of all rows takes its place.
    """
    from sklearn.covariance import ledoit_wolf  # imported here: reading a saved layer choice must not wait for it

    one_hot = np.eye(n_classes)[fit_labels]
    means = one_hot.T @ fit_rows / one_hot.sum(0)[:, None]
    residuals = fit_rows - (means[fit_labels] if len(fit_rows) > n_classes else fit_rows.mean(0))
    covariance = np.asarray(ledoit_wolf(residuals, assume_centered=True)[0])
    floor = 1e-6 * max(float(np.mean(fit_rows**2)), 1e-12)
    directions = np.linalg.solve(covariance + floor * np.eye(len(covariance)), means.T)
    scores = test_rows @ directions - 0.5 * np.sum(means.T * directions, axis=0)
    return scores.argmax(1)


def cross_fit(
    hidden: Float[np.ndarray, "layers rows d"],
    truth: Int[np.ndarray, " rows"],
    fold_of_row: Int[np.ndarray, " rows"],
    labelings: Callable[[int], Int[np.ndarray, "labelings rows"]],
    n_classes: int,
) -> Bool[np.ndarray, "layers labelings rows"]:
    """Whether each row is named rightly by the probe of its layer that was fitted on the other folds' rows.

    `labelings(fold)` gives the labels to fit on while that fold is left out: the true ones, and the control's shuffled
    ones. All are tested against the truth.
    """
    by_layer_and_fold = [[] for _ in hidden]
    folds = [(fold, fold_of_row == fold) for fold in np.unique(fold_of_row)]
    order = np.concatenate([np.flatnonzero(is_test) for _, is_test in folds])
    for fold, is_test in folds:
        labels = labelings(int(fold))[:, ~is_test]
        for layer, done in zip(hidden, by_layer_and_fold):
            fit_rows, test_rows = standardised(layer[~is_test], layer[is_test])
            named = [predict(fit_rows, row_labels, test_rows, n_classes) for row_labels in labels]
            done.append(np.stack(named) == truth[is_test])
    correct = np.stack([np.concatenate(done, axis=1) for done in by_layer_and_fold])
    return correct[:, :, np.argsort(order)]
