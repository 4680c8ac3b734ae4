"""Key files and the directory of authorised keys."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from runtime.errors import ConfigurationError
from runtime.transport.zeromq.keys import (
    AUTHORISED,
    AuthorisedKeys,
    add_node,
    make_key,
    own_key,
    read_key,
    revoke_node,
    write_key,
)


def test_own_key_is_made_on_first_use_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    directory = tmp_path / "keys"
    key = own_key(directory)
    assert own_key(directory) == key
    assert key.server == key.public
    assert stat.S_IMODE((directory / "master.key").stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert sorted(path.name for path in directory.iterdir()) == [AUTHORISED, "master.key"]


def test_a_key_file_made_for_a_node_holds_all_that_it_needs(tmp_path: Path) -> None:
    path = add_node(tmp_path, "agent-7")
    key = read_key(path)
    assert key.principal == "agent-7"
    assert key.server == own_key(tmp_path).public
    assert AuthorisedKeys(own_key(tmp_path), tmp_path).principal(key.public) == "agent-7"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_name_is_given_once(tmp_path: Path) -> None:
    add_node(tmp_path, "agent-7")
    with pytest.raises(ConfigurationError, match="already: revoke it first"):
        add_node(tmp_path, "agent-7")
    with pytest.raises(ConfigurationError, match="already"):
        add_node(tmp_path, "master")


def test_revoking_is_seen_at_the_next_look(tmp_path: Path) -> None:
    key = read_key(add_node(tmp_path, "agent-7"))
    authorised = AuthorisedKeys(own_key(tmp_path), tmp_path)
    assert authorised.refresh() == set()
    revoke_node(tmp_path, "agent-7")
    assert authorised.refresh() == {"agent-7"}
    assert authorised.principal(key.public) is None
    assert authorised.refresh() == set()
    with pytest.raises(ConfigurationError, match="no key of agent-7"):
        revoke_node(tmp_path, "agent-7")


def test_a_replaced_key_revokes_the_old_one(tmp_path: Path) -> None:
    old = read_key(add_node(tmp_path, "agent-7"))
    authorised = AuthorisedKeys(own_key(tmp_path), tmp_path)
    revoke_node(tmp_path, "agent-7")
    new = read_key(add_node(tmp_path, "agent-7"))
    assert authorised.refresh() == {"agent-7"}
    assert (authorised.principal(old.public), authorised.principal(new.public)) == (None, "agent-7")


def test_an_unreadable_file_authorises_nobody(tmp_path: Path) -> None:
    own = own_key(tmp_path)
    (tmp_path / AUTHORISED / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / AUTHORISED / "short").write_text("abc")
    (tmp_path / AUTHORISED / "directory").mkdir()
    key = read_key(add_node(tmp_path, "agent-7"))
    authorised = AuthorisedKeys(own, tmp_path)
    assert authorised.principal(key.public) == "agent-7"
    assert authorised.principal(bytes(32)) is None


def test_the_secret_is_never_shown() -> None:
    key = make_key("agent-7")
    assert key.secret.hex() not in repr(key)
    assert repr(key.secret) not in repr(key)
    assert key.public.hex() in repr(key)


@pytest.mark.parametrize("name", ["", "../etc/passwd", "a/b", ".hidden", "a\nb"])
def test_a_name_that_is_no_file_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="is no name for a node"):
        add_node(tmp_path, name)


def test_a_key_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "node.key"
    write_key(path, make_key("node"))
    path.chmod(0o640)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        read_key(path)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("not toml", "cannot be read as a key file"),
        ('principal = "a"\npublic = "12"\nsecret = "34"\n', "public must be 64 hexadecimal digits"),
        ('public = "12"\n', "names no principal"),
    ],
)
def test_a_file_that_is_no_key_file_says_what_is_wrong(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "node.key"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(ConfigurationError, match=complaint):
        read_key(path)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_key(tmp_path / "absent.key")


def test_a_directory_that_cannot_be_made_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"the key directory /proc/keys cannot be made: .*; choose another"):
        own_key(Path("/proc/keys"))
