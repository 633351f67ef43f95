"""Every figure the benchmark reports, one file each behind one protocol."""

from prefgen.benchmark.metrics.clip_i import ClipI
from prefgen.benchmark.metrics.clip_t import ClipT
from prefgen.benchmark.metrics.cmmd import Cmmd
from prefgen.benchmark.metrics.costs import Costs
from prefgen.benchmark.metrics.coverage import Coverage
from prefgen.benchmark.metrics.diversity import Diversity
from prefgen.benchmark.metrics.gain import Gain
from prefgen.benchmark.metrics.identification import Identification
from prefgen.benchmark.metrics.judge_accuracy import JudgeAccuracy
from prefgen.benchmark.metrics.kid import Kid
from prefgen.benchmark.metrics.prefdisc import PrefDisc
from prefgen.benchmark.metrics.protocol import Metric
from prefgen.benchmark.metrics.seconds import Seconds
from prefgen.benchmark.metrics.style import Style
from prefgen.benchmark.metrics.subject_accuracy import SubjectAccuracy
from prefgen.benchmark.metrics.two_modes import TwoModes
from prefgen.benchmark.metrics.win_rate import WinRate
from prefgen.benchmark.metrics.yes_no import YesNo

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Gain(),
        WinRate(),
        SubjectAccuracy(),
        Identification(),
        PrefDisc(),
        Kid(),
        Cmmd(),
        ClipI(),
        Style(),
        ClipT(),
        Diversity(),
        Coverage(),
        TwoModes(),
        JudgeAccuracy(),
        YesNo(),
        Seconds(),
        Costs(),
    )
}
"""Every metric by name."""

__all__ = ["METRICS", "Metric"]
