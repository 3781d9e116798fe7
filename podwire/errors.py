"""The errors that a user can meet: first line what is wrong, second line what to do next.

The command line ends with the error's `exit_status` (docs/exit-codes.md). This file imports
nothing of podwire.
"""

from typing import cast


class PodwireError(Exception):
    """The root of podwire's own errors."""

    exit_status = 1


class UsageError(PodwireError):
    """The command line, or a file that it names, makes no sense."""

    exit_status = 64


class ConfigError(UsageError):
    """A user's file is wrong; the message begins with file:line:column, which count from 1."""

    def __init__(self, message: str, *, line: int = 0, column: int = 0) -> None:
        super().__init__(message)
        self.line = line
        self.column = column


class MachineError(PodwireError):
    """The machine lacks something that podwire needs; the message holds the command that helps."""

    exit_status = 69


class InternalError(PodwireError):
    """A fault of podwire itself."""

    exit_status = 70


class TimedOut(PodwireError):
    """What was waited for did not come true in time; the message says what is lacking."""

    exit_status = 124


class PortInUse(PodwireError):
    """A port that was asked for belongs to another program."""


class AlreadyRunning(PodwireError):
    """A cluster of that name runs already."""


class NotRunning(PodwireError):
    """No cluster of that name runs."""


class UnreachableError(PodwireError):
    """The API server cannot be reached, or went away in the middle."""


class EngineError(PodwireError):
    """Docker Engine refused, in its own words; *status* is HTTP's, 0 if it went away."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class ApiError(PodwireError):
    """The API server refused; HTTP code and reason are those of its Status object."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message

    @staticmethod
    def of(code: int, reason: str, message: str) -> "ApiError":
        """Return the error of the class that fits *reason* or, without one, *code*."""
        by_reason: dict[str, type[ApiError]] = {
            kind.__name__: kind
            for kind in (NotFound, AlreadyExists, Conflict, Expired, Invalid, Forbidden)
        }
        by_code = {404: NotFound, 410: Expired, 422: Invalid, 403: Forbidden}
        kind = by_reason.get(reason) or by_code.get(code, ApiError)
        return kind(code, reason, message)


class NotFound(ApiError):
    """404: no such object."""


class AlreadyExists(ApiError):
    """409: an object of that name is there."""


class Conflict(ApiError):
    """409: the object was changed in between; read it again."""


class Expired(ApiError):
    """410: that resourceVersion is too old; list again."""


class Invalid(ApiError):
    """422: the object breaks a rule."""


class Forbidden(ApiError):
    """403: not allowed."""


def cause(error: BaseException) -> BaseException:
    """Return what lies at the bottom of a TaskGroup's error."""
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return error
