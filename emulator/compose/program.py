"""The control plane of a cluster of containers as a program: what it starts from.

When a part of it fails it ends, and the restart policy of the container brings it back: the journal
has the objects, the engine has the pods.
"""

import gc
import logging
import sys
import time
from collections.abc import Mapping

import uvloop

from podwire import linux
from podwire.emulator.apiserver import journal
from podwire.emulator.apiserver.store import Store
from podwire.emulator.compose import identity, leftovers
from podwire.emulator.compose.cluster import Cluster
from podwire.emulator.compose.settings import Settings, from_environ
from podwire.emulator.compose.surroundings import Surroundings, look_around
from podwire.emulator.engine.client import Engine
from podwire.errors import InternalError, PodwireError, cause

log = logging.getLogger(__name__)


def main(environ: Mapping[str, str]) -> int:
    """Serve the cluster until SIGTERM or SIGINT; return the exit status."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", stream=sys.stdout)
    try:
        settings = from_environ(environ)
        # Not those of libraries: aiohttp tells of every request.
        logging.getLogger("podwire").setLevel(settings.log)
        linux.allow_many_descriptors()
        # As in the sandbox (emulator/cluster.py): a full look for garbage holds up all watchers.
        gc.set_threshold(10_000, 20, 10)
        return uvloop.run(_serve(settings, time.monotonic()))
    except Exception as error:
        found = cause(error)
        if isinstance(found, PodwireError):
            log.error("%s", found)
            return found.exit_status
        log.error("the control plane failed; this is podwire's own fault", exc_info=error)
        return InternalError.exit_status


async def _serve(settings: Settings, began: float) -> int:
    settings.ready.unlink(missing_ok=True)  # of a start before this one
    async with Engine.connect(settings.engine) as engine:
        around = await look_around(engine, settings)
        if around.addresses and str(settings.address) not in around.addresses:
            log.warning(
                "PODWIRE_ADDRESS is %s, but this container has %s: pods will not reach the API;"
                " make PODWIRE_ADDRESS and ipv4_address of `api` agree",
                *(settings.address, ", ".join(around.addresses)),
            )
        kept = identity.kept(settings)
        store, _ = journal.opened(settings.state / "journal")
        await _sweep(engine, around, settings, store)
        return await Cluster(engine, around, settings, kept, store, began).run()


async def _sweep(engine: Engine, around: Surroundings, settings: Settings, store: Store) -> None:
    """Remove what is left of pods that the journal does not know."""
    known = {str(stored.object["metadata"]["uid"]) for stored in store.all("pods")}
    gone = await leftovers.remove(engine, around.project, settings.pod_files, known)
    if gone:
        log.info("removed the containers of %d pods that nobody knows any more", len(gone))
