"""Every method the benchmark compares, one file each behind one protocol."""

from collections.abc import Callable

from prefgen.benchmark.methods.bagel import BagelMethod
from prefgen.benchmark.methods.baseline_adapter import BaselineAdapter
from prefgen.benchmark.methods.best_of_n import BestOfNMethod
from prefgen.benchmark.methods.e_img_only import ImageEmbeddingMethod
from prefgen.benchmark.methods.easyref import EasyRefMethod
from prefgen.benchmark.methods.fabric import FabricMethod
from prefgen.benchmark.methods.instantstyle import InstantStyleMethod
from prefgen.benchmark.methods.ip_adapter import IpAdapterMethod
from prefgen.benchmark.methods.ip_adapter_user import IpAdapterUserMethod
from prefgen.benchmark.methods.lora import LoraMethod
from prefgen.benchmark.methods.oracle import OracleMethod
from prefgen.benchmark.methods.oracle_history import OracleHistoryMethod
from prefgen.benchmark.methods.other_user import OtherUserMethod
from prefgen.benchmark.methods.painter import PainterMethod
from prefgen.benchmark.methods.prefgen import PrefGenMethod
from prefgen.benchmark.methods.prompt import PromptMethod
from prefgen.benchmark.methods.protocol import NEEDS, Bench, FitsEachPerson, Method, Need, NotRun, Parameters
from prefgen.benchmark.methods.rewrite import RewriteMethod
from prefgen.benchmark.methods.stylealigned import StyleAlignedMethod
from prefgen.benchmark.methods.text_mean import TextMeanMethod
from prefgen.benchmark.methods.viper import ViperMethod

METHODS: dict[str, Callable[..., Method]] = {
    "prompt": PromptMethod,
    "oracle": OracleMethod,
    "oracle_history": OracleHistoryMethod,
    "painter": PainterMethod,
    "other_user": OtherUserMethod,
    "e_img_only": ImageEmbeddingMethod,
    "prefgen": PrefGenMethod,
    "ip_adapter": IpAdapterMethod,
    "ip_adapter_user": IpAdapterUserMethod,
    "instantstyle": InstantStyleMethod,
    "stylealigned": StyleAlignedMethod,
    "viper": ViperMethod,
    "easyref": EasyRefMethod,
    "bagel": BagelMethod,
    "fabric": FabricMethod,
    "rewrite": RewriteMethod,
    "text_mean": TextMeanMethod,
    "best_of_n": BestOfNMethod,
    "lora": LoraMethod,
}
"""Maker of each method by name, called as `maker(bench, **tuned parameters)`; raises `NotRun` when it cannot run."""

QUICK_METHODS: tuple[str, ...] = ("prompt", "oracle", "oracle_history", "painter", "prefgen")
"""The five of the quick run."""

__all__ = [
    "METHODS",
    "NEEDS",
    "QUICK_METHODS",
    "BaselineAdapter",
    "Bench",
    "FitsEachPerson",
    "Method",
    "Need",
    "NotRun",
    "Parameters",
]
