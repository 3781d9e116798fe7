"""Every controller of the cluster, in one list, on shared informers.

Those of kinds that most clusters never have are loaded with the first such object.
"""

import asyncio
import random
from collections.abc import Sequence

from podwire.emulator.controllers.context import Controller, ControllerContext
from podwire.emulator.controllers.deletion.garbage import GarbageCollector
from podwire.emulator.controllers.deletion.namespaces import NamespaceDefaults, NamespaceEnds
from podwire.emulator.controllers.dormant import Dormant
from podwire.emulator.controllers.nodes.node_lifecycle import NodeLifecycle
from podwire.emulator.controllers.nodes.nodes import OrphanedPods
from podwire.emulator.controllers.nodes.scheduler import Scheduler
from podwire.emulator.controllers.nodes.taints import CordonTaints, TaintEviction
from podwire.emulator.controllers.services.endpoints import EndpointsObjects
from podwire.emulator.controllers.services.endpointslices import EndpointSlices
from podwire.emulator.controllers.services.kubernetes import ApiAddress, KubernetesService
from podwire.emulator.controllers.services.mirroring import EndpointSliceMirroring
from podwire.emulator.controllers.workloads.daemonsets import DaemonSets
from podwire.emulator.controllers.workloads.deployments import Deployments
from podwire.emulator.controllers.workloads.replicasets import ReplicaSets
from podwire.kube.client import Client
from podwire.kube.clock import Clock
from podwire.kube.informers import Informers
from podwire.kube.objects import CronJob, Job, PodDisruptionBudget, StatefulSet


def controllers(
    client: Client,
    clock: Clock,
    rng: random.Random,
    *,
    informers: Informers,
    root_ca: str,
    api: ApiAddress | None = None,
) -> list[Controller]:
    """Return the controllers; *root_ca* is the certificate that pods trust, as PEM.

    They subscribe to *informers*, which somebody else runs, in the order of this list: slices come
    first, because traffic follows them.
    """
    context = ControllerContext(client, informers, clock, rng)
    return [
        EndpointSlices(context),
        NodeLifecycle(context),
        Scheduler(context),
        CordonTaints(context),
        TaintEviction(context),
        ReplicaSets(context),
        Deployments(context),
        DaemonSets(context),
        Dormant(context, (StatefulSet,), _stateful_sets),
        Dormant(context, (Job,), _jobs),
        Dormant(context, (CronJob,), _cron_jobs),
        Dormant(context, (PodDisruptionBudget,), _budgets),
        EndpointsObjects(context),
        EndpointSliceMirroring(context),
        NamespaceDefaults(context, root_ca=root_ca),
        NamespaceEnds(context),
        GarbageCollector(context),
        OrphanedPods(context),
        KubernetesService(context, api or ApiAddress()),
    ]


async def run(started: Sequence[Controller]) -> None:
    """Run controllers until cancelled."""
    async with asyncio.TaskGroup() as tasks:
        for controller in started:
            tasks.create_task(controller.run(), name=type(controller).__name__)


def _stateful_sets(context: ControllerContext) -> Controller:
    from podwire.emulator.controllers.workloads.statefulsets import (  # noqa: PLC0415 - see the docstring
        StatefulSets,
    )

    return StatefulSets(context)


def _jobs(context: ControllerContext) -> Controller:
    from podwire.emulator.controllers.jobs.jobs import Jobs  # noqa: PLC0415 - see the docstring

    return Jobs(context)


def _cron_jobs(context: ControllerContext) -> Controller:
    from podwire.emulator.controllers.jobs.cronjobs import CronJobs  # noqa: PLC0415 - see the docstring

    return CronJobs(context)


def _budgets(context: ControllerContext) -> Controller:
    from podwire.emulator.controllers.workloads.budgets import (  # noqa: PLC0415 - see the docstring
        PodDisruptionBudgets,
    )

    return PodDisruptionBudgets(context)
