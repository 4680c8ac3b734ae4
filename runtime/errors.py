"""What can go wrong in the runtime, as exceptions that say what, where and what to do."""

from __future__ import annotations


class KaonError(Exception):
    """Base of every error that a user may see: its text is a whole sentence and names the mend."""


class InvalidPID(KaonError, ValueError):
    """A text is no actor address."""


class InvalidMessage(KaonError, ValueError):
    """Bytes are no message of ours, or a message of ours with wrong fields."""


class MessageTooLarge(KaonError, ValueError):
    """A message encodes to more bytes than a node accepts."""


class ActorError(KaonError):
    """An actor class is declared wrongly, or an effect was asked for that cannot be."""


class NameTaken(ActorError):
    """A node already runs an actor of that name."""


class TransportError(KaonError):
    """An address cannot be bound or dialled."""


class JournalError(KaonError):
    """A journal cannot be read or written; the process that owns it must end."""


class ConfigurationError(KaonError):
    """A flag, an environment variable or a file entry has a value that cannot be used."""
