"""Which layers of the language model know the person, and which know what the person likes.

Linear probes on frozen hidden states, layer by layer: inter-user (which user is this?) and intra-user (liked or
disliked by this user?), each with intervals and a shuffled-label control; from their curves the layers of `e_core` and
`e_sem` are chosen.
"""

from prefgen.probing.choose import LayerChoice, choose_layers
from prefgen.probing.curve import ProbeCurve
from prefgen.probing.inter import inter_user
from prefgen.probing.intra import intra_user
from prefgen.probing.people_map import map_of_people, plot_people
from prefgen.probing.report import ProbeReport, plot_report

__all__ = [
    "LayerChoice",
    "ProbeCurve",
    "ProbeReport",
    "choose_layers",
    "inter_user",
    "intra_user",
    "map_of_people",
    "plot_people",
    "plot_report",
]
