"""How a scheduler's program finds its cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.scheduler.cluster import find_cluster
from runtime.errors import ConfigurationError, KaonError, TransportError
from runtime.pid import PID
from runtime.transport.zeromq.keys import own_key


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("KAON_MASTER", "KAON_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KAON_WORK_DIR", str(tmp_path / "up"))


def key_file(directory: Path) -> Path:
    own_key(directory)
    return directory / "master.key"


def up(tmp_path: Path, text: str) -> None:
    (tmp_path / "up").mkdir()
    (tmp_path / "up" / "cluster.toml").write_text(text)


def test_arguments_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAON_MASTER", "tcp://elsewhere:1")
    cluster = find_cluster("tcp://m1:5040, m2:5040", key_file(tmp_path))
    assert cluster.masters == (PID("master", "tcp://m1:5040"), PID("master", "tcp://m2:5040"))
    assert cluster.principal == "master"


def test_then_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAON_MASTER", "m:5040")
    monkeypatch.setenv("KAON_KEY", str(key_file(tmp_path)))
    assert find_cluster().masters == (PID("master", "tcp://m:5040"),)


def test_then_the_cluster_that_runs_here(tmp_path: Path) -> None:
    up(tmp_path, f'master = "tcp://127.0.0.1:5040"\nkey = "{key_file(tmp_path)}"\ninsecure = false\n')
    cluster = find_cluster()
    assert (cluster.masters[0].node, cluster.principal) == ("tcp://127.0.0.1:5040", "master")


def test_an_insecure_cluster_needs_no_key(tmp_path: Path) -> None:
    assert find_cluster("m:1", insecure=True).key is None
    up(tmp_path, 'master = "tcp://127.0.0.1:5040"\ninsecure = true\n')
    assert find_cluster().key is None


def test_what_is_missing_is_said_with_the_mend(tmp_path: Path) -> None:
    with pytest.raises(KaonError, match=r"no master is named, and no cluster runs in .*up: start one with `kaon up`"):
        find_cluster()
    with pytest.raises(KaonError, match="no key for m:1 is named"):
        find_cluster("m:1")
    with pytest.raises(ConfigurationError, match="cannot be read as a key file"):
        find_cluster("m:1", tmp_path / "none.key")
    with pytest.raises(TransportError, match="tcp://host:port"):
        find_cluster("m", insecure=True)


@pytest.mark.parametrize(
    ("text", "said"),
    [("master = ", "cannot be read"), ("", "names no master"), ('master = "tcp://m:1"\n', "no key for tcp://m:1")],
)
def test_a_broken_file_is_named(tmp_path: Path, text: str, said: str) -> None:
    up(tmp_path, text)
    with pytest.raises(KaonError, match=said):
        find_cluster()
