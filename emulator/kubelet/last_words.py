"""What a container says of its own end: the file terminationMessagePath, or its log's last lines.

The limits are the kubelet's (pkg/kubelet/container/runtime.go, pkg/kubelet/kuberuntime).
"""

from collections.abc import Iterable
from pathlib import Path

from podwire.emulator.kubelet.logview import entries, last_lines
from podwire.emulator.runtimes.mounts import Bind
from podwire.kube.objects import Container

_LONGEST = 4096
_LOG_LINES = 80
_LONGEST_OF_LOG = 2048


def message_file(container: Container, directory: Path, *, fresh: bool) -> Bind | None:
    """Return the file for what *container* says, made anew if *fresh*; raises OSError.

    None: it has no such path.
    """
    if not container.termination_message_path:
        return None
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / container.name
    if fresh or not path.exists():
        # A new one: an earlier run's may still be mounted.
        path.unlink(missing_ok=True)
        path.touch()
        # Whoever the image runs as.
        path.chmod(0o666)
    return Bind(container.termination_message_path, str(path), is_directory=False)


def message_of(container: Container, status: int, directory: Path, log: Iterable[Path]) -> str:
    """Return the message of a container that ended with *status*; *log* is its log's files."""
    said = b""
    if container.termination_message_path:
        try:
            with (directory / container.name).open("rb") as file:
                said = file.read(_LONGEST)
        except OSError as error:
            return f"Error on reading termination log {directory / container.name}: {error}"
    if not said and status and container.termination_message_policy == "FallbackToLogsOnError":
        text = b"".join(path.read_bytes() for path in log)
        lines = entries(last_lines(text, _LOG_LINES))
        said = b"".join(line.shown(timestamps=False) for line in lines)[-_LONGEST_OF_LOG:]
    return said.decode(errors="replace")
