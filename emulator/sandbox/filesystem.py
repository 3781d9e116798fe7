"""The sandbox's own view of the file system: its /proc, and a fresh /run for all that is ours."""

import os

from podwire import linux
from podwire.emulator.sandbox import paths


def make_file_system() -> None:
    """Make them, in the mount namespace that we are in. Its process 1 calls this, once."""
    linux.mount("none", "/", flags=linux.MS_REC | linux.MS_PRIVATE)
    _hide_secrets()
    linux.mount("proc", "/proc", "proc", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)
    kept = paths.hidden_directories()
    held = [(directory, os.open(directory, os.O_PATH | os.O_CLOEXEC)) for directory in kept]
    linux.mount("tmpfs", "/run", "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=755")
    for directory in (
        paths.NETNS,
        paths.PODS,
        paths.KEEP,
        paths.CNI_CONFIG,
        paths.CNI_STATE,
        paths.ROOT,
    ):
        directory.mkdir(parents=True)
    # Programs that pods run may lie below what pods get fresh (/tmp, /var, /run): our own Python
    # in a virtual environment in /tmp, for one. Keep a way in.
    for number, (directory, fd) in enumerate(held):
        keep = paths.KEEP / str(number)
        keep.mkdir()
        linux.mount(f"/proc/self/fd/{fd}", keep, flags=linux.MS_BIND | linux.MS_REC)
        os.close(fd)
        if directory.is_relative_to("/run"):
            directory.mkdir(parents=True, exist_ok=True)
            linux.mount(str(keep), directory, flags=linux.MS_BIND | linux.MS_REC)


def _hide_secrets() -> None:
    try:
        folder = paths.secrets()
        is_there = folder.is_dir()
    except (RuntimeError, PermissionError):  # no home, or one that pods cannot see either
        return
    if is_there:
        flags = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
        linux.mount("tmpfs", folder, "tmpfs", flags, "mode=700")
