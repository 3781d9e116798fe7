"""A stand-in for the Kubernetes test image agnhost: `pause` and `netexec`'s HTTP server."""

from collections.abc import Mapping, Sequence

from podwire.emulator.images import pause, web


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run the sub-command; one that is not here ends with status 1 and says which are."""
    command, *rest = argv or ["pause"]
    if command == "pause":
        return pause.main(rest, environ)
    if command == "netexec":
        ports = [arg.partition("=")[2] for arg in rest if arg.startswith("--http-port=")]
        return web.main(["--port", ports[-1] if ports else "8080"], environ)
    print(f"agnhost: no sub-command {command!r} in the stand-in; it has pause and netexec")
    return 1
