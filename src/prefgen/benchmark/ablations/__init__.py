"""Questions about our method that need no training: one file and one plot each, one command for all."""

from __future__ import annotations

from prefgen.benchmark.ablations.asking import Asking, Question, Sweep, Variant
from prefgen.benchmark.ablations.questions import QUESTIONS
from prefgen.benchmark.ablations.run import bench_ablations

__all__ = ["QUESTIONS", "Asking", "Question", "Sweep", "Variant", "bench_ablations"]
