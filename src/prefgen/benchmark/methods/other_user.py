"""The control: our method with someone else's pictures."""

from __future__ import annotations

from prefgen.benchmark.methods.prefgen import PrefGenMethod
from prefgen.benchmark.tasks import Shelf, Task


class OtherUserMethod(PrefGenMethod):
    """`PrefGen` on a stranger's shelf: it must not please this person."""

    name = "other_user"

    def shelf(self, task: Task) -> Shelf:
        """The stranger's pictures."""
        return task.case.stranger
