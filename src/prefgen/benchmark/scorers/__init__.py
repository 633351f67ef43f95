"""Scorers of photographs and large pictures, by the names of the field, on transformers' own classes.

For backbones whose pictures these models were made for; the painter's 64-pixel pictures are read by the judge. Nothing
is loaded before a scorer is made, and nothing but safetensors is read: where a model is published as a pickle only, the
error says how to convert it.
"""

from prefgen.benchmark.scorers.aesthetic import Aesthetic
from prefgen.benchmark.scorers.clip import ClipScorer
from prefgen.benchmark.scorers.hpsv2 import hpsv2
from prefgen.benchmark.scorers.image_reward import ImageReward
from prefgen.benchmark.scorers.inception import InceptionFid, frechet_distance
from prefgen.benchmark.scorers.perceptual import Lpips
from prefgen.benchmark.scorers.pickscore import pickscore

__all__ = ["Aesthetic", "ClipScorer", "ImageReward", "InceptionFid", "Lpips", "frechet_distance", "hpsv2", "pickscore"]
