"""What benchmarks share: interleaved rounds, medians, a table with limits, and a second process to talk to."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

Role = Callable[..., Any]
"""What a companion runs: ``role(connection, *arguments)``; what it returns goes back to whoever called it."""


class Figure(NamedTuple):
    """One line of the table.

    value       None where it could not be measured; `note` says why
    must, goal  limits; None for none
    most        whether they are upper limits
    """

    name: str
    value: float | None
    must: float | None = None
    goal: float | None = None
    most: bool = False
    note: str = ""

    def meets(self, limit: float | None) -> bool:
        """Whether the value keeps a limit."""
        if self.value is None or limit is None:
            return True
        return self.value <= limit if self.most else self.value >= limit


class Companion:
    """A second process, spawned, that runs one role at a time: the other end of what is measured."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()

    def begin(self, role: Role, *arguments: object) -> None:
        """Run a role there; its `connection` is this one's other end."""
        self.connection.send((role, arguments))

    def wait(self, timeout_seconds: float = 30.0) -> Any:
        """What the role sends next, or returns. Raises TimeoutError."""
        if not self.connection.poll(timeout_seconds):
            raise TimeoutError("the other process does not answer")
        said = self.connection.recv()
        if isinstance(said, Exception):
            raise said
        return said

    def tell(self, what: object = "go") -> None:
        """Say something to the role that runs."""
        self.connection.send(what)

    def close(self) -> None:
        """End the process."""
        self.connection.send(None)
        self._process.join(5)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _serve(connection: Connection) -> None:
    while (order := connection.recv()) is not None:
        role, arguments = order
        try:
            connection.send(role(connection, *arguments))
        except Exception as error:  # noqa: BLE001  the process that measures reports whatever went wrong here
            connection.send(RuntimeError(f"{role.__name__}: {type(error).__name__}: {error}"))


def interleave(measures: Mapping[str, Callable[[], float]], rounds: int, deadline: float) -> dict[str, list[float]]:
    """Take every measure once a round, one after the other, so that what else runs on the machine hits all alike.

    After `deadline` (of `time.monotonic`) no further round begins; the first always runs.
    """
    values: dict[str, list[float]] = {name: [] for name in measures}
    for number in range(rounds):
        if number and time.monotonic() > deadline:
            break
        for name, measure in measures.items():
            values[name].append(measure())
    return values


def ratio(values: Mapping[str, list[float]], name: str, base: str) -> float:
    """Median of the ratios of each round."""
    return statistics.median(one / other for one, other in zip(values[name], values[base], strict=True))


def arguments(description: str) -> argparse.Namespace:
    """The options that every benchmark has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (5)")
    parser.add_argument("--only", default="", help="groups to measure, separated by commas (all)")
    return parser.parse_args()


def report(figures: list[Figure], *, as_json: bool) -> int:
    """Print the table and, if asked, the JSON line; returns the exit status: 1 when a must is missed."""
    print(f"{'figure':<26}{'value':>12}{'must':>12}{'goal':>12}")
    missed = []
    for figure in figures:
        sign = "<=" if figure.most else ">="
        limits = "".join(f"{'' if limit is None else f'{sign} {limit:,g}':>12}" for limit in (figure.must, figure.goal))
        value = "-" if figure.value is None else _shown(figure.value)
        verdict = (
            "MISSED" if not figure.meets(figure.must) else "goal" if figure.goal and figure.meets(figure.goal) else ""
        )
        if verdict == "MISSED":
            missed.append(figure.name)
        print(f"{figure.name:<26}{value:>12}{limits}  {verdict:<7}{figure.note}")
    print("missed: " + ", ".join(missed) if missed else "all within their limits")
    if as_json:
        print(json.dumps({figure.name: figure.value and round(figure.value, 4) for figure in figures}))
    return 1 if missed else 0


def _shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"
