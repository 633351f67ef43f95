"""Tasks, judges, methods, metrics and statistics: what PrefGen is measured by."""

from prefgen.benchmark.judge import CLASSES, Judge, JudgeConfig, PictureJudge, Reading, judge_config, new_network
from prefgen.benchmark.methods import METHODS, BaselineAdapter, Bench, Method, NotRun
from prefgen.benchmark.metrics import METRICS, Metric
from prefgen.benchmark.population import Member, make_population, members_of
from prefgen.benchmark.results import Results, Row
from prefgen.benchmark.run import FULL, QUICK, Plan, bench, run_bench
from prefgen.benchmark.statistics import Estimate, difference_interval, gain_interval, holm, mean_interval
from prefgen.benchmark.tasks import Case, Shelf, Task, cases_of, tasks_of
from prefgen.benchmark.tuning import SWEEPS, record, tune, tuned_parameters
from prefgen.benchmark.utility import Utility, person_utility, taste_utility

__all__ = [
    "CLASSES",
    "FULL",
    "METHODS",
    "METRICS",
    "QUICK",
    "SWEEPS",
    "BaselineAdapter",
    "Bench",
    "Case",
    "Estimate",
    "Judge",
    "JudgeConfig",
    "Member",
    "Method",
    "Metric",
    "NotRun",
    "PictureJudge",
    "Plan",
    "Reading",
    "Results",
    "Row",
    "Shelf",
    "Task",
    "Utility",
    "bench",
    "cases_of",
    "difference_interval",
    "gain_interval",
    "holm",
    "judge_config",
    "make_population",
    "mean_interval",
    "members_of",
    "new_network",
    "person_utility",
    "record",
    "run_bench",
    "tasks_of",
    "taste_utility",
    "tune",
    "tuned_parameters",
]
