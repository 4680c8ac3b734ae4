"""GPUs: found, chosen, granted one by one, kept over restarts; and on a machine that has one, used."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from containerizer.errors import ContainerizerError
from containerizer.gpus import Found, choose_gpus, device_files, driver_files, driver_programs, find_gpus
from containerizer.messages import Describe, HostCapabilities, Launch, LaunchFailed, LaunchFailure
from runtime.errors import ConfigurationError
from tests.containerizer.recorded_nvml import RecordedNvml

NVIDIA = 195
NOBODY = 250
"""Majors of NVIDIA's devices and of nobody's: 240 on are for local use (`Documentation/admin-guide/devices.txt`)."""

TRY = """
import os, sys
def attempt(name, path):
    try:
        os.close(os.open(path, os.O_RDWR))
        print(name, "opened")
    except OSError as error:
        print(name, type(error).__name__, error.errno)
attempt("first", "/dev/nvidia0")
attempt("second", "/dev/nvidia1")
for minor in (0, 1):
    os.mknod(f"own{minor}", 0o600 | 0o020000, os.makedev(int(sys.argv[1]), minor))
    attempt(f"own{minor}", f"own{minor}")
print(os.environ.get("NVIDIA_VISIBLE_DEVICES"), flush=True)
if sys.argv[2:]:
    import signal
    signal.pause()
"""


# Finding and choosing -------------------------------------------------------------------------------------------------


def test_gpus_are_found_with_what_the_driver_says_of_them() -> None:
    nvml = RecordedNvml(2)
    first, second = find_gpus(nvml).gpus
    assert (first.minor, second.minor) == (0, 1)
    assert first.uuid.startswith("GPU-")
    assert first.name.startswith("NVIDIA ")
    assert first.memory_bytes > 2**30
    assert nvml.open == 0


@pytest.mark.parametrize("failing", ["nvmlInit", "nvmlDeviceGetCount"])
def test_a_driver_that_does_not_answer_is_a_reason(failing: str) -> None:
    nvml = RecordedNvml(failing=failing)
    found = find_gpus(nvml)
    assert found.gpus == ()
    assert "version mismatch" in found.reason
    assert nvml.open == 0


def test_the_library_of_this_machine_can_be_asked() -> None:
    found = find_gpus()
    assert bool(found.gpus) != bool(found.reason)


def test_gpus_are_chosen_by_number_or_name() -> None:
    found = find_gpus(RecordedNvml(3))
    assert choose_gpus(found, ()) == choose_gpus(found, ("all",)) == found
    assert choose_gpus(found, ("none",)).gpus == ()
    assert [gpu.minor for gpu in choose_gpus(found, (found.gpus[2].uuid, "0")).gpus] == [0, 2]
    with pytest.raises(ConfigurationError, match=r"no GPU '7' on this host; there are: 0 \(GPU-"):
        choose_gpus(found, ("7",))
    with pytest.raises(ConfigurationError, match="there are: none: no driver"):
        choose_gpus(Found(reason="no driver"), ("0",))


@pytest.mark.root
def test_device_files_are_those_of_the_gpus_and_those_that_all_need(tmp_path: Path) -> None:
    gpus = find_gpus(RecordedNvml(2)).gpus
    make_devices(tmp_path)
    names = {file.name: (file.major, file.minor) for file in device_files(gpus[1:], tmp_path)}
    assert names == {"nvidia1": (NOBODY, 1), "nvidiactl": (NOBODY, 255)}
    (tmp_path / "nvidiactl").unlink()
    with pytest.raises(ContainerizerError, match=r"nvidiactl: No such file.*nvidia-modprobe"):
        device_files(gpus, tmp_path)
    (tmp_path / "nvidiactl").touch()
    with pytest.raises(ContainerizerError, match="no device"):
        device_files(gpus, tmp_path)


def test_the_drivers_files_are_found_by_the_linkers_cache(tmp_path: Path) -> None:
    listing = """3 libs found in cache `/etc/ld.so.cache'
\tlibcuda.so.1 (libc6,x86-64) => /usr/lib/x86_64-linux-gnu/libcuda.so.1
\tlibcuda.so.1 (libc6) => /usr/lib/i386-linux-gnu/libcuda.so.1
\tlibnvidia-ml.so.1 (libc6,x86-64) => /usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1
\tlibc.so.6 (libc6,x86-64) => /lib/x86_64-linux-gnu/libc.so.6
"""
    (tmp_path / "nvidia-smi").touch()
    assert driver_files(listing, driver_programs(f"/nowhere:{tmp_path}")) == [
        ("/usr/lib/x86_64-linux-gnu/libcuda.so.1", "/usr/local/nvidia/lib64/libcuda.so.1"),
        ("/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1", "/usr/local/nvidia/lib64/libnvidia-ml.so.1"),
        (str(tmp_path / "nvidia-smi"), "/usr/local/nvidia/bin/nvidia-smi"),
    ]


# Granting -------------------------------------------------------------------------------------------------------------


def make_devices(directory: Path) -> None:
    for name, minor in (("nvidia0", 0), ("nvidia1", 1), ("nvidiactl", 255)):
        os.mknod(directory / name, stat.S_IFCHR | 0o666, os.makedev(NOBODY, minor))


@pytest.fixture
def machine(real: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A host with two GPUs, as far as their driver and their numbers go."""
    make_devices(tmp_path)
    monkeypatch.setattr("containerizer.work.find_gpus", lambda: find_gpus(RecordedNvml(2)))
    monkeypatch.setattr("containerizer.isolators.gpu.DEVICES", tmp_path)
    made = real("auto")
    made.attach()
    return made


def tries(major: int = NOBODY, *, stays: bool = False) -> dict[str, Any]:
    """A command that may make device files; whether they can be opened is what is asked."""
    return {
        "argv": ("/usr/bin/env", "python3", "-c", TRY, str(major), *(("stay",) if stays else ())),
        "environment": (("PATH", os.environ["PATH"]), ("NVIDIA_VISIBLE_DEVICES", "all")),
        "capabilities": ("CAP_MKNOD",),
    }


@pytest.mark.root
@pytest.mark.cgroup2
def test_gpus_are_granted_one_by_one_and_no_other_can_be_opened(machine: Any) -> None:
    host = machine.ask(Describe(), HostCapabilities)
    assert [gpu.minor for gpu in host.gpus] == [0, 1]
    assert "gpu/nvidia" in host.isolators
    machine.launch("first", gpus=1, **tries(stays=True))
    machine.launch("second", gpus=1, **tries(stays=True))
    machine.await_output("first", "GPU-")
    machine.await_output("second", "GPU-")
    # What is allowed finds no driver behind its number; the rest is not even looked for.
    assert machine.output("first").splitlines()[:4] == [
        "first OSError 6",
        "second FileNotFoundError 2",
        "own0 OSError 6",
        "own1 PermissionError 1",
    ]
    assert machine.output("second").splitlines()[:4] == [
        "first FileNotFoundError 2",
        "second OSError 6",
        "own0 PermissionError 1",
        "own1 OSError 6",
    ]
    assert machine.run("none", **tries()).exit_code == 0
    assert machine.output("none").splitlines() == [
        "first FileNotFoundError 2",
        "second FileNotFoundError 2",
        "own0 PermissionError 1",
        "own1 PermissionError 1",
        "all",
    ]


@pytest.mark.root
@pytest.mark.cgroup2
def test_no_gpu_is_given_twice_also_after_a_restart(machine: Any) -> None:
    machine.launch("holder", "sleep 60", gpus=2)
    machine.restart()
    machine.attach()
    machine.recover(("holder",))
    refused = machine.ask(Launch(spec=machine.spec("late", "true", gpus=1)), LaunchFailed)
    assert refused.reason is LaunchFailure.FAILED
    assert "1 GPUs are wanted, and of the 2 of this host 0 are free" in refused.message
    machine.destroy("holder")
    assert machine.run("later", "true", gpus=2).exit_code == 0
    assert not (machine.directory / "run-work" / ".gpus").exists()


@pytest.mark.root
@pytest.mark.cgroup2
def test_a_nested_container_sees_gpus_of_its_parent(machine: Any) -> None:
    machine.launch("pod", "sleep 60", gpus=1)
    assert machine.run("pod.sees", gpus=1, **tries()).exit_code == 0
    assert machine.output("pod.sees").splitlines()[0] == "first OSError 6"
    refused = machine.ask(Launch(spec=machine.spec("pod.more", "true", gpus=2)), LaunchFailed)
    assert refused.reason is LaunchFailure.INVALID
    assert "a nested container sees those of pod, which has 1" in refused.message


@pytest.mark.root
def test_gpus_are_refused_where_there_are_none(real: Callable[..., Any]) -> None:
    machine = real("plain")
    machine.attach()
    refused = machine.ask(Launch(spec=machine.spec("c", "true", gpus=1)), LaunchFailed)
    assert refused.reason is LaunchFailure.UNSUPPORTED
    assert "gpus is 1, and this agent grants none: " in refused.message


# For real -------------------------------------------------------------------------------------------------------------


@pytest.mark.root
@pytest.mark.cgroup2
@pytest.mark.gpu
def test_a_gpu_can_be_used_by_who_has_it_and_by_nobody_else(real: Callable[..., Any]) -> None:
    machine = real("auto")
    machine.attach()
    (gpu, *_) = machine.ask(Describe(), HostCapabilities).gpus
    smi = {"argv": ("nvidia-smi", "-L"), "environment": (("PATH", os.environ["PATH"]),)}
    machine.launch("user", gpus=1, **tries(NVIDIA, stays=True))
    machine.await_output("user", "GPU-")
    assert machine.output("user").splitlines()[0] == "first opened"
    assert machine.run("user.smi", gpus=1, **smi).exit_code == 0
    assert gpu.uuid in machine.output("user.smi")
    assert machine.run("outsider", **tries(NVIDIA)).exit_code == 0
    assert machine.output("outsider").splitlines()[0] == "first FileNotFoundError 2"
    assert machine.output("outsider").splitlines()[2] == "own0 PermissionError 1"
    machine.run("blind", **smi)
    assert gpu.uuid not in machine.output("blind")
