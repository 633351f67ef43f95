"""What must never stand in a message: tokens of the hub, and names and passwords inside addresses."""

from __future__ import annotations

import re

_KINDS = re.compile(r"hf_[A-Za-z0-9]{6,}|(?<=Bearer )[^\s\"',;]+|(?<=://)[^/\s@]+(?=@)", re.IGNORECASE)


def without_secrets(text: str, *secrets: object) -> str:
    """The text with every secret in it told as `***`: the given ones that are texts, and whatever looks like a token.

    >>> without_secrets("401 for hf_abcdefgh at https://anna:pw@host/x")
    '401 for *** at https://***@host/x'
    """
    for secret in secrets:
        if isinstance(secret, str) and len(secret) > 3:
            text = text.replace(secret, "***")
    return _KINDS.sub("***", text)
