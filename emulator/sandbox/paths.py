"""Where things are inside the sandbox. All of it is on a tmpfs that goes with the sandbox."""

import sys
from collections.abc import Iterable
from pathlib import Path

# Named network namespaces: `ip netns exec node-1 ...` works inside.
NETNS = Path("/run/netns")
BASE = Path("/run/podwire")
API_SOCKET = BASE / "api.sock"
CAPTURE_SOCKET = BASE / "capture.sock"
# From the process that makes the certificates to the control plane, which takes it away.
CREDENTIALS = BASE / "credentials.json"
# Per pod: volumes, resolv.conf, hosts, logs.
PODS = BASE / "pods"
# Where a container's new root is put together, in its own mount namespace.
ROOT = BASE / "root"
# Directories of the host that lie below what pods get fresh.
KEEP = BASE / "keep"
CNI_CONFIG = BASE / "cni" / "net.d"
CNI_STATE = BASE / "cni" / "state"

# What a pod gets empty and writable; everything else is the host's, read-only.
FRESH = (Path("/tmp"), Path("/var"), Path("/run"))


def secrets() -> Path:
    """Return the user's folder with the keys of clusters, this one's among them.

    Pods see the host's files; this folder is empty for them. Raises RuntimeError if there is no
    home.
    """
    return Path.home() / ".kube"


def hidden_directories() -> list[Path]:
    """Return the directories of the host that pods need and that lie below FRESH."""
    return hidden((Path(sys.prefix), Path(sys.base_prefix), Path(__file__).resolve().parents[2]))


def hidden(needed: Iterable[Path]) -> list[Path]:
    """Return those of *needed* that lie below FRESH, sorted."""
    return sorted({d for d in needed if any(d.is_relative_to(fresh) for fresh in FRESH)})
