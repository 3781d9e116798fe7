"""The plugin as a program: environment and standard input in, one JSON document out.

Started as `podwire-cni` by a container runtime, or as a built-in program in a forked process.
"""

import errno
import json
import os
import select
import sys
from collections.abc import Mapping, Sequence

from podwire.cni.addresses import Invocation
from podwire.cni.commands import COMMANDS
from podwire.cni.netconf import parse_request
from podwire.cni.spec import NEWEST, VERSIONS, CniError, Code, parse_call, version_document

_ABOUT = (
    "podwire-cni: a CNI plugin (https://www.cni.dev); container runtimes start it, people do not"
)


# Ample for any configuration.
_MOST_BYTES = 1 << 24


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> int:
    """Serve one call and return the exit status: 0 exactly if no error is printed.

    *argv* is not used: all parameters of CNI are environment variables.
    """
    environ = os.environ if environ is None else environ
    version = NEWEST
    stdin = b""
    try:
        call = parse_call(environ)
        stdin = _read_all(call.command)
        if call.command == "VERSION":
            _print(version_document(_version_in(stdin)))
            return 0
        request = parse_request(stdin)
        version = request.version
        answer = COMMANDS[call.command](Invocation(call, request, stdin, environ, _log))
    except CniError as error:
        if "CNI_COMMAND" not in environ:
            _log(_ABOUT)
        version = (
            version if error.code == Code.INCOMPATIBLE_VERSION else _version_in(stdin) or version
        )
        _print(error.document(version))
        return 1
    except Exception as error:  # noqa: BLE001 (a runtime reads the reason from stdout only)
        import traceback  # noqa: PLC0415 (mostly not needed, and slow to load)

        traceback.print_exc()
        _print(CniError(Code.KERNEL, f"fault of podwire-cni: {error!r}").document(version))
        return 1
    if answer is not None:
        _print(answer)
    return 0


def _read_all(command: str) -> bytes:
    # The file descriptors themselves: in a forked process sys.stdin is that of the parent.
    # VERSION needs no configuration, so it waits for none that does not come.
    patience = 0.2 if command == "VERSION" else None
    parts: list[bytes] = []
    size = 0
    try:
        while select.select([0], [], [], patience)[0] and (part := os.read(0, 1 << 20)):
            parts.append(part)
            size += len(part)
            if size > _MOST_BYTES:
                if command == "VERSION":
                    return b""
                raise CniError(
                    Code.DECODE_FAILURE, "error unmarshall network config: it does not end"
                )
    except OSError as error:
        if command == "VERSION":
            return b""
        raise CniError(Code.IO_FAILURE, f"error reading from stdin: {error.strerror}") from error
    return b"".join(parts)


def _version_in(stdin: bytes) -> str:
    """Return the version that the request names, or nothing if it names none that we know."""
    try:
        document: object = json.loads(stdin)
    except (ValueError, RecursionError):
        return ""
    version: object = document.get("cniVersion") if isinstance(document, dict) else None  # pyright: ignore
    return version if isinstance(version, str) and version in VERSIONS else ""


def _print(document: Mapping[str, object]) -> None:
    data = json.dumps(document).encode() + b"\n"
    while data:
        try:
            data = data[os.write(1, data) :]
        except OSError as error:
            # Nobody listens any more, or ever did.
            if error.errno not in (errno.EPIPE, errno.EBADF):
                raise
            return


def _log(line: str) -> None:
    print(f"podwire-cni: {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
