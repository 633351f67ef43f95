"""Preference prediction: which of two pictures would this person choose, after 0 to 8 pairs they chose from?"""

from prefgen.benchmark.prediction.asked import N_REFERENCES, Asked, Pair
from prefgen.benchmark.prediction.predictors import PREDICTORS, Predictor
from prefgen.benchmark.prediction.run import FULL, QUICK, PredictionPlan, bench_prediction, prediction_rows

__all__ = [
    "FULL",
    "N_REFERENCES",
    "PREDICTORS",
    "QUICK",
    "Asked",
    "Pair",
    "PredictionPlan",
    "Predictor",
    "bench_prediction",
    "prediction_rows",
]
