"""Bringing user embeddings to the space of the text encoder: the losses, the projector, and the check on identity.

A distribution loss (MMD) says whether the two clouds agree, never whose point is whose; retrieval says the rest.
"""

from prefgen.alignment.kernels import gaussian_kernel, polynomial_kernel
from prefgen.alignment.mmd import MMDTest, median_bandwidths, mmd2_unbiased, mmd_permutation_test
from prefgen.alignment.projector import Projector
from prefgen.alignment.retrieval import RetrievalResult, retrieval_top1
from prefgen.alignment.rivals import (
    ALIGNMENT_LOSSES,
    AlignmentLoss,
    alignment_loss,
    cosine_distance,
    info_nce,
    pointwise_mse,
    sliced_wasserstein,
)

__all__ = [
    "ALIGNMENT_LOSSES",
    "AlignmentLoss",
    "MMDTest",
    "Projector",
    "RetrievalResult",
    "alignment_loss",
    "cosine_distance",
    "gaussian_kernel",
    "info_nce",
    "median_bandwidths",
    "mmd2_unbiased",
    "mmd_permutation_test",
    "pointwise_mse",
    "polynomial_kernel",
    "retrieval_top1",
    "sliced_wasserstein",
]
