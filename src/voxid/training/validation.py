"""The error rate on held-out speakers while training runs: to watch it, and to choose between recipes."""

from __future__ import annotations

from pathlib import Path

from voxid.embed.torch import TorchRuntime
from voxid.evaluation import evaluate
from voxid.model.network import Model


class Validation:
    """Measures a model on the speakers of a prepared folder; `every` steps, and at the end.

    They must be held out: neither trained on, nor those of a test (`voxid split` makes such a part).
    """

    def __init__(self, data: str | Path, every: int, trials: str = "all", device: str = "cpu") -> None:
        self.data, self.every, self.trials, self.device = data, every, trials, device

    def eer(self, model: Model) -> float:
        """Return the equal error rate of `model`, a fraction; raise as `evaluate` does."""
        runtime = TorchRuntime(model, self.device)
        report = evaluate([runtime], self.data, self.trials, resamples=0, device=self.device, cache=False)
        return report.models[0].eer
