"""Processors for pictures and texts alone, where a family's own cannot be had without torchvision.

A processor that also reads videos cannot be built where torchvision is missing, though pictures need none of it
(transformers 5, issue 48558). Its class without the video part is tried once the ordinary way has failed.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from prefgen.core import ModelError
from prefgen.mllm.families import Family


class ImageOnlyProcessorMixin:
    """Put before a processor class, it drops the class's video part.

    It must not define `__init__`, whose arguments transformers reads off the class.
    """

    video_processor = None

    @classmethod
    def get_attributes(cls) -> list[str]:
        """The parts to load."""
        return [name for name in super().get_attributes() if name != "video_processor"]  # type: ignore[misc]

    @classmethod
    def _get_arguments_from_pretrained(cls, *args: Any, **kwargs: Any) -> list[Any]:
        return [*super()._get_arguments_from_pretrained(*args, **kwargs), None]  # type: ignore[misc]

    def apply_chat_template(self, *args: Any, **kwargs: Any) -> Any:
        """As every processor renders a chat; SmolVLM's own asks its video part how many frames there are to be."""
        from transformers import ProcessorMixin

        return ProcessorMixin.apply_chat_template(self, *args, **kwargs)  # type: ignore[arg-type]  # pyright: ignore


def image_only(kind: type) -> type:
    """A processor class without its video part, under the same name, so that what it saves is the family's own."""
    if "video_processor" not in kind.get_attributes():  # type: ignore[attr-defined]
        return kind
    _spare_words_for_numbers(kind)
    return type(kind.__name__, (ImageOnlyProcessorMixin, kind), {"__module__": kind.__module__})


def load_processor(name: str, family: Family, **kwargs: Any) -> Any:
    """A family's processor from a folder or hub name; without its video part where it cannot be had whole."""
    import transformers

    try:
        found = transformers.AutoProcessor.from_pretrained(name, **kwargs)
    except (OSError, ImportError, ValueError, KeyError, AttributeError, TypeError) as whole:
        try:
            found = image_only(getattr(transformers, family.processor)).from_pretrained(name, **kwargs)
        except (OSError, ImportError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise error from whole
    if not (hasattr(found, "image_processor") and hasattr(found, "tokenizer")):
        raise ModelError(
            f"expected a processor of pictures and texts in {name}, got {type(found).__name__} alone",
            hint="download the whole folder: preprocessor_config.json and the tokenizer's files belong to it",
        )
    return found


def _spare_words_for_numbers(kind: type) -> None:
    """SmolVLM's processor asks for num2words when it is built, and uses it for videos alone."""
    module = import_module(kind.__module__)
    if getattr(module, "num2words", True) is None:
        vars(module)["num2words"] = _no_videos


def _no_videos(*_: Any) -> str:
    raise ModelError("expected pictures, got a video", hint="pip install num2words torchvision")
