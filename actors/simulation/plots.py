"""Pictures of a simulation; needs matplotlib, which comes with ``pip install 'kaon[plots]'``."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from actors.simulation.summary import Sample
from runtime.errors import KaonError


def plot(samples: Mapping[str, Sequence[Sample]], names: Sequence[str], path: Path) -> None:
    """Draw shares of frameworks and use of the cluster over time, a column for each policy, into `path`.

    samples  by the name of the policy
    names    of the frameworks, in the order of the shares
    Raises :class:`KaonError` when matplotlib is missing or cannot write such a file.
    """
    try:
        matplotlib = importlib.import_module("matplotlib.figure")
    except ImportError:
        raise KaonError("pictures need matplotlib: pip install 'kaon[plots]'") from None
    figure = matplotlib.Figure(figsize=(7.0 * len(samples), 8.0), layout="constrained")
    columns = figure.subplots(3, len(samples), sharex=True, sharey="row", squeeze=False)
    for column, (policy, taken) in enumerate(samples.items()):
        _draw(columns[:, column], policy, taken, names)
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise KaonError(f"the picture cannot be written to {path}: {error}") from None


def _draw(axes: Any, policy: str, samples: Sequence[Sample], names: Sequence[str]) -> None:
    hours = [sample.at / 3600.0 for sample in samples]
    shares, use, fairness = axes
    shares.set_title(policy)
    stacks = [[sample.shares[position] for sample in samples] for position in range(len(names))]
    shares.stackplot(hours, *stacks, labels=names)
    shares.set_ylabel("dominant shares")
    if len(names) <= 10:
        shares.legend(loc="upper left", fontsize="small")
    use.plot(hours, [sample.used[0] for sample in samples], label="CPUs")
    use.plot(hours, [sample.used[1] for sample in samples], label="memory")
    use.set_ylabel("part in use")
    use.set_ylim(0.0, 1.05)
    use.legend(loc="lower right", fontsize="small")
    fairness.plot(hours, [sample.fairness for sample in samples])
    fairness.set_ylabel("fairness (Jain)")
    fairness.set_ylim(0.0, 1.05)
    fairness.set_xlabel("hours")
