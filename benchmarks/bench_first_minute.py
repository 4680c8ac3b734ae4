"""First impressions: how long `kaon --help`, `kaon up` and `kaon run true` take, as whole processes.

Medians of several runs; the cluster that `kaon run` uses is the one that was just started.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

from _cluster import LocalCluster, kaon
from _harness import Figure, arguments, report


def main() -> int:
    """Measure and print."""
    options = arguments(__doc__ or "")
    helps: list[float] = []
    ups: list[float] = []
    runs: list[float] = []
    with tempfile.TemporaryDirectory() as nowhere:
        kaon(Path(nowhere), "--help")
        for _ in range(min(options.rounds, 3)):
            helps += [kaon(Path(nowhere), "--help") for _ in range(3)]
            with LocalCluster() as cluster:
                ups.append(cluster.up_seconds)
                runs += [cluster.run("run", "true") for _ in range(3)]
    figures = [
        Figure("help_seconds", statistics.median(helps), must=0.3, most=True),
        Figure("up_seconds", statistics.median(ups), must=5.0, most=True, note="`kaon up` to its ready line, 1 agent"),
        Figure("run_seconds", statistics.median(runs), must=1.5, most=True, note="`kaon run true`"),
    ]
    return report(figures, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
