"""Other programs that a call may need: nft, and the IPAM plugins of others. Imported only then."""

import json
import shutil
import stat
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from podwire.cni.documents import Json
from podwire.cni.spec import CniError, Code


def nft_program(environ: Mapping[str, str]) -> str:
    """Return the path of nft. Raises CniError."""
    # A runtime's PATH often lacks the sbin directories, or is missing altogether.
    path = ":".join(filter(None, (environ.get("PATH"), "/usr/sbin:/sbin:/usr/local/sbin")))
    program = shutil.which("nft", path=path)
    if program is None:
        raise CniError(
            Code.KERNEL,
            "ipMasq and portMappings need the program nft, which is not installed",
            "apt install nftables",
        )
    return program


def load_rules(rules: str, environ: Mapping[str, str]) -> None:
    """Load the nft script *rules* as one transaction. Raises CniError."""
    program = [nft_program(environ), "-f", "-"]
    try:
        done = subprocess.run(program, input=rules, capture_output=True, text=True, check=False)
    except OSError as error:
        raise CniError(Code.KERNEL, f"cannot run nft: {error.strerror}") from error
    if done.returncode != 0:
        raise CniError(Code.KERNEL, "cannot load the nft rules", done.stderr.strip())


def find_plugin(name: str, directories: Sequence[str]) -> Path:
    """Return the program of the plugin *name*, found as libcni does. Raises CniError.

    The first regular file of that name counts, executable or not: libcni reports the failure of
    one that is not, and does not go on to the next directory.
    """
    if not name or "/" in name or name in (".", ".."):
        raise CniError(Code.INVALID_CONFIG, f"invalid plugin name: {name}")
    if not directories:
        raise CniError(Code.BAD_ENVIRONMENT, "no paths provided: CNI_PATH is empty")
    for directory in directories:
        path = Path(directory, name)
        try:
            if stat.S_ISREG(path.stat().st_mode):
                return path
        except OSError:
            continue
    raise CniError(
        Code.DELEGATE, f'failed to find plugin "{name}" in path [{" ".join(directories)}]'
    )


def delegate(program: Path, command: str, environ: Mapping[str, str], stdin: bytes) -> Json | None:
    """Run *program* for *command* as a runtime would, and return what it printed.

    Raises CniError with the plugin's own words if it fails. Its standard error is ours.
    """
    try:
        done = subprocess.run(
            [str(program)],
            input=stdin,
            stdout=subprocess.PIPE,
            env={**environ, "CNI_COMMAND": command},
            check=False,
        )
    except OSError as error:
        raise CniError(Code.DELEGATE, f"cannot run plugin {program}: {error.strerror}") from error
    try:
        answer: object = json.loads(done.stdout) if done.stdout.strip() else None
    except ValueError:
        answer = done.stdout.decode(errors="replace")
    if done.returncode != 0:
        if isinstance(answer, dict):
            error_document = cast("Json", answer)
            raise CniError(
                _code(error_document),
                str(error_document.get("msg") or f"plugin {program.name} failed"),
                str(error_document.get("details") or ""),
            )
        raise CniError(
            Code.DELEGATE,
            f"plugin {program.name} failed with exit status {done.returncode}",
            str(answer or ""),
        )
    if answer is not None and not isinstance(answer, dict):
        raise CniError(Code.DELEGATE, f"plugin {program.name} printed no JSON object", str(answer))
    return cast("Json | None", answer)


def _code(document: Json) -> int:
    code = document.get("code")
    return code if isinstance(code, int) and code > 0 else Code.DELEGATE
