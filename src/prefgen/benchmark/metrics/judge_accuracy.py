"""How far the judge itself can be trusted: on the painter's pictures of this run, before and after the autoencoder."""

from __future__ import annotations

import numpy as np

from prefgen.agents import FAMILIES, Scene
from prefgen.benchmark.judge import NONE, Reading
from prefgen.benchmark.methods.painter import painter_scene
from prefgen.benchmark.results import Results, Row


def correct_answers(reading: Reading, scenes: list[Scene]) -> dict[str, np.ndarray]:
    """Head to float [n]: 1 where the judge is right. Worded families are averaged under `worded`."""
    worded = [
        np.array([float(a == s.values.get(f, NONE)) for a, s in zip(reading.answers(f), scenes)]) for f in FAMILIES
    ]
    return {
        "subject": np.array([float(a == s.subject) for a, s in zip(reading.answers("subject"), scenes)]),
        "worded": np.mean(worded, axis=0),
        "look": np.array([float(a == (s.look or NONE)) for a, s in zip(reading.answers("look"), scenes)]),
    }


class JudgeAccuracy:
    """`judge_accuracy_{subject,worded,look}` on the painter's pictures, `_paintings` and `_reconstructions`."""

    name = "judge_accuracy"

    def measure(self, results: Results) -> list[Row]:
        """Rows of the method `judge`, where the painter was run."""
        rows: list[Row] = []
        scenes = [painter_scene(t) for t in results.tasks]
        sources = {
            "paintings": results.extra_readings.get("painting"),
            "reconstructions": results.readings.get("painter"),
        }
        for where, reading in sources.items():
            if reading is not None:
                for head, hits in correct_answers(reading, scenes).items():
                    rows.append(results.mean("judge", f"{self.name}_{head}_{where}", hits))
        return rows
