"""Numbers of the runtime, with unit and reason."""

from __future__ import annotations

from typing import Final

PROTOCOL_VERSION: Final = 1
"""Of the session protocol; two nodes talk when theirs are equal."""

MAX_MESSAGE_BYTES: Final = 8 * 1024 * 1024
"""Largest encoded envelope. A registry bucket or a state snapshot fits; a file does not belong in a message."""

MAX_FRAME_BYTES: Final = MAX_MESSAGE_BYTES + 1024
"""Largest frame that a socket accepts: one envelope of the largest size, or many small ones."""

COALESCED_ENVELOPES: Final = 256
"""Envelopes in a frame at most: a reader stays within a turn's time, and a bad frame costs little."""

MAILBOX_MESSAGES: Final = 100_000
"""Default bound of an actor's mailbox, in messages."""

SESSION_QUEUE_ENVELOPES: Final = 100_000
"""Envelopes that wait for one peer at most; more are undeliverable."""

TURNS_PER_VISIT: Final = 64
"""Turns of one actor before the next has its turn; a stop request waits for no more than these."""

TURNS_PER_PUMP: Final = 1024
"""Turns before the loop looks at its sockets and timers again."""

BURST_ENVELOPES: Final = 128
"""After so many a node handles what has come before it reads on, while it is in the processor's caches."""

HANDSHAKE_TIMEOUT_SECONDS: Final = 5.0
"""From dialling to Welcome; a dial that takes longer has failed."""

PING_INTERVAL_SECONDS: Final = 5.0
"""Between pings of one node to another over an idle session: finds a process whose loop is stuck."""

PING_MISSES: Final = 3
"""Unanswered pings after which the session is closed."""

HEARTBEAT_INTERVAL_MS: Final = 1_000
HEARTBEAT_TIMEOUT_MS: Final = 3_000
"""ZMTP heartbeats: find a stopped or silent host when TCP itself would wait for minutes."""

DIAL_BACKOFF_SECONDS: Final = 0.05
DIAL_BACKOFF_MAX_SECONDS: Final = 5.0
"""Between two dials of one address: random up to the first, doubling up to the second."""

IPC_PATH_BYTES: Final = 107
"""Longest path of a Unix socket (Linux `sockaddr_un.sun_path` less the final NUL)."""

RECORDER_TURNS: Final = 2_048
RECORDER_BYTES: Final = 16 * 1024 * 1024
"""Bounds of a node's flight recorder. Twice the turns do not stay in a processor's cache: a flood of messages is then a
twentieth slower."""

REFUSALS: Final = (
    "malformed_frame",  # no list of envelopes in MessagePack
    "malformed_envelope",  # an envelope that has not six fields of the right kinds
    "unknown_type",  # a tag that no message type has
    "wrong_fields",  # a known type with fields of wrong types, or without those it needs
    "too_large",  # a frame or a message over the limit
    "no_hello",  # a peer that speaks before it said who it is
    "wrong_version",  # Hello of another protocol version
    "wrong_principal",  # an authenticated peer that claims a node id which is not its own
    "superseded",  # a Hello of an older life of a node
    "flood",  # more than the receiver's mailbox takes
    "unauthenticated",  # an unknown or revoked key
    "poison",  # a message that has crashed its receiver twice
)
"""Why input is turned away at the socket: the label values of the metric `kaon_refused_total`."""

assert PING_INTERVAL_SECONDS * PING_MISSES * 1000 > HEARTBEAT_TIMEOUT_MS, "heartbeats are the quicker of the two"
assert MAX_FRAME_BYTES > MAX_MESSAGE_BYTES
assert TURNS_PER_PUMP >= BURST_ENVELOPES
