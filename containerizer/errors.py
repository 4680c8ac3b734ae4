"""What can go wrong in the containerizer, as exceptions that say what, where and what to do."""

from __future__ import annotations

from runtime.errors import KaonError


class ContainerizerError(KaonError):
    """Base of the containerizer's own errors."""


class InvalidSpec(ContainerizerError, ValueError):
    """A container spec cannot be used; the text names the field and the mend."""


class UnknownContainer(ContainerizerError):
    """No container of that id."""


class Unsupported(ContainerizerError):
    """This host cannot do what was asked; the text says what is missing and how to get it."""


class KernelError(ContainerizerError):
    """A system call or a write to a kernel file failed.

    what    the call or file, and the value
    number  the errno
    """

    def __init__(self, what: str, number: int, text: str) -> None:
        super().__init__(f"{what}: {text}")
        self.what = what
        self.number = number


class NetworkError(ContainerizerError, OSError):
    """The host's network could not be changed; the text says what was tried.

    An `OSError` too: a cleanup that meets it is tried again (:mod:`containerizer.lifecycle`).
    """


class LauncherError(ContainerizerError):
    """The zygote could not start a container, or could not be reached."""
