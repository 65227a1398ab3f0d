"""What trials are: index arrays, 9 bytes a trial, so that all pairs of a large test set stay small.

# N utterances, K trials, M enrollment models, E enrollment utterances of all models
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import numpy as np

from voxid.trials.data import EvaluationData

MOST_TRIALS = 200_000_000  # all pairs of 20,000 utterances: 2.6 GB with their scores


@dataclass(frozen=True, eq=False)
class Models:
    """Enrollment models: speakers who were enrolled with several utterances each.

    Model m has the name `names[m]` and is made of the utterances `utterance_E[begin[m]:begin[m + 1]]`
    (int32 numbers in the data). `first` is the number of model 0 in a list of trials: the number of
    utterances of the data, so that one array can name both.

    >>> from voxid.trials import make_trials
    >>> from voxid.trials.data import read_data
    >>> models = make_trials("2-enrol", read_data("people")).models
    >>> len(models), len(models.utterance_E)
    (4, 8)
    """

    names: list[str]
    begin: np.ndarray  # (M + 1,) int64
    utterance_E: np.ndarray
    first: int

    def __len__(self) -> int:
        return len(self.names)

    def members(self, model: int) -> np.ndarray:
        """Return the numbers of the utterances that model number `model` (from 0) is made of.

        >>> from voxid.trials import make_trials
        >>> from voxid.trials.data import read_data
        >>> make_trials("2-enrol", read_data("people")).models.members(0).tolist()
        [0, 1]
        """
        return self.utterance_E[self.begin[model] : self.begin[model + 1]]


@dataclass(frozen=True, eq=False)
class Trials:
    """Pairs of utterances by their number in the data, and whether one speaker said both.

    `left_K` and `right_K` are int32 (K,), `same_K` bool (K,). With enrollment `models`, a number in `left_K`
    from `models.first` up means a model (see `extended`). `warnings` counts trials that look wrong in a list,
    `left_out` counts what a filter could not use. `seed` is None where chance plays no part.

    >>> from voxid.trials import make_trials
    >>> from voxid.trials.data import read_data
    >>> trials = make_trials("all", read_data("people"))
    >>> int(trials.same_K.sum()), trials.spec
    (12, 'all')
    """

    spec: str
    left_K: np.ndarray
    right_K: np.ndarray
    same_K: np.ndarray
    warnings: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    seed: int | None = None
    models: Models | None = None

    def __len__(self) -> int:
        return self.left_K.size

    def used(self) -> np.ndarray:
        """Return the numbers of the utterances that must be embedded, ascending, each once.

        >>> from voxid.trials import make_trials
        >>> from voxid.trials.data import read_data
        >>> len(make_trials("all", read_data("people")).used())
        12
        """
        if not len(self):
            return np.zeros(0, np.int32)
        needed = np.zeros(1 + max(int(self.left_K.max()), int(self.right_K.max())), dtype=bool)
        needed[self.left_K] = True
        needed[self.right_K] = True
        if self.models is None:
            return np.flatnonzero(needed)
        for model in np.flatnonzero(needed[self.models.first :]):
            needed[self.models.members(int(model))] = True
        return np.flatnonzero(needed[: self.models.first])

    def extended(self, data: EvaluationData) -> EvaluationData:
        """Return `data` with one more utterance for each enrollment model, so that every number has a row.

        Such an utterance has the name of the model, and all else (speaker, labels, path, audio) of the first
        utterance the model is made of. Without models `data` itself comes back.

        >>> from voxid.trials import make_trials
        >>> from voxid.trials.data import read_data
        >>> data = read_data("people")
        >>> len(make_trials("2-enrol", data).extended(data).utterances) - len(data.utterances)
        4
        """
        models = self.models
        if models is None:
            return data
        firsts = [int(models.members(model)[0]) for model in range(len(models))]
        more = [
            dataclasses.replace(data.utterances[first], utterance=name)
            for name, first in zip(models.names, firsts, strict=True)
        ]
        return dataclasses.replace(
            data,
            utterances=[*data.utterances, *more],
            audio=lambda i: data.audio(i if i < models.first else firsts[i - models.first]),
        )
