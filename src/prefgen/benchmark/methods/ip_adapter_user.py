"""The fairest rival: an IP-Adapter trained on people, from the mean of their likes to another liked picture."""

from __future__ import annotations

from prefgen.benchmark.methods.ip_adapter import IpAdapterMethod


class IpAdapterUserMethod(IpAdapterMethod):
    """`ip_adapter` with our data, steps, tokens and tuning; only the language model and the dislikes are missing."""

    name = "ip_adapter_user"
    weights = "ip_adapter_user"
