"""NVIDIA's library as it answered on a machine with a GPU (``nvml.json``; its serial number is left out), with as many
of them as a test wants."""

# ruff: noqa: N802  the names are the library's
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec


class NVMLError(Exception):
    """What the library raises."""


class Memory(msgspec.Struct):
    total: int


class RecordedNvml:
    """The functions that are asked. count: GPUs like the recorded one; failing: the function that raises."""

    NVMLError = NVMLError

    def __init__(self, count: int = 1, failing: str = "") -> None:
        (self._device,) = json.loads((Path(__file__).parent / "nvml.json").read_text())["devices"]
        self._count = count
        self._failing = failing
        self.open = 0

    def _check(self, name: str) -> None:
        if name == self._failing:
            raise NVMLError("Driver/library version mismatch")

    def nvmlInit(self) -> None:
        self._check("nvmlInit")
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:
        self._check("nvmlDeviceGetCount")
        return self._count

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetUUID(self, handle: int) -> Any:
        return f"{self._device['uuid'][:-1]}{handle}"

    def nvmlDeviceGetMinorNumber(self, handle: int) -> int:
        return int(self._device["minor"]) + handle

    def nvmlDeviceGetName(self, handle: int) -> Any:
        return self._device["name"].encode()

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Memory:
        return Memory(self._device["memory_total"])
