"""A pod's access to the API server as its ServiceAccount: tokens, and the volume they are in.

Kubernetes' admission writes that volume into the pod; here the object stays as it was written, and
the kubelet mounts it (plugin/pkg/admission/serviceaccount, pkg/kubelet/token).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from podwire.emulator.kubelet.context import NodeContext
from podwire.emulator.kubelet.volume_files import VolumeError, tokens_of
from podwire.errors import ApiError, NotFound, UnreachableError
from podwire.kube.cluster_objects import BoundToken
from podwire.kube.names import Key
from podwire.kube.objects import (
    ConfigMapVolumeSource,
    Container,
    DownwardAPIFile,
    DownwardAPIVolumeSource,
    KeyToPath,
    ObjectFieldSelector,
    Pod,
    ProjectedVolumeSource,
    ServiceAccount,
    ServiceAccountTokenProjection,
    Volume,
    VolumeProjection,
)
from podwire.kube.times import parse_rfc3339

PLACE = "/var/run/secrets/kubernetes.io/serviceaccount"
# The kubelet's: an hour, and seven seconds by which such tokens are told from others.
LIFETIME = 3607
# The part of its life after which a token is renewed, as the kubelet's token manager does.
_RENEWED_AFTER = 0.8

_ACCESS = ProjectedVolumeSource(
    sources=(
        VolumeProjection(
            service_account_token=ServiceAccountTokenProjection(
                path="token", expiration_seconds=LIFETIME
            )
        ),
        VolumeProjection(
            config_map=ConfigMapVolumeSource(
                name="kube-root-ca.crt", items=(KeyToPath(key="ca.crt", path="ca.crt"),)
            )
        ),
        VolumeProjection(
            downward_api=DownwardAPIVolumeSource(
                items=(
                    DownwardAPIFile(
                        path="namespace",
                        field_ref=ObjectFieldSelector(field_path="metadata.namespace"),
                    ),
                )
            )
        ),
    )
)


def access_volume(pod: Pod, account: ServiceAccount | None) -> Volume | None:
    """Return the volume with which containers of *pod* reach the API server; None: not wanted."""
    wanted = pod.spec.automount_service_account_token
    if wanted is None and account is not None:
        wanted = account.automount_service_account_token
    if wanted is False:
        return None
    return Volume(name=f"kube-api-access-{pod.metadata.uid[:5]}", projected=_ACCESS)


def has_own(container: Container) -> bool:
    """Tell whether *container* mounts something of its own where the volume would be."""
    return any(mount.mount_path.rstrip("/") == PLACE for mount in container.volume_mounts)


@dataclass(frozen=True, slots=True)
class _Held:
    token: str
    renewed_at: float


class PodTokens:
    """The tokens of one pod: bound to it, so that they end with it."""

    def __init__(self, node: NodeContext, pod: Callable[[], Pod]) -> None:
        self._node = node
        self._pod = pod
        self._held: dict[tuple[str, int], _Held] = {}

    @property
    def held(self) -> dict[tuple[str, int], str]:
        """Return the tokens by audience (empty: the API server's) and lifetime in seconds."""
        return {wish: held.token for wish, held in self._held.items()}

    def volumes(self) -> tuple[Volume, ...]:
        """Return the pod's volumes, with that of its access to the API server."""
        access = self.access()
        own = self._pod().spec.volumes
        return own if access is None else (*own, access)

    def access(self) -> Volume | None:
        """Return the volume of the pod's access to the API server; None: it is not wanted."""
        pod = self._pod()
        name = pod.spec.service_account_name or "default"
        return access_volume(pod, self._node.service_account(pod.metadata.namespace, name))

    async def obtain(self) -> bool:
        """Ask for the tokens that are missing or old; tells whether there are new ones.

        Raises VolumeError.
        """
        return await self._ask(self._lacking())

    async def renew(self) -> bool:
        """Replace the tokens that have grown old; tells whether there are new ones.

        Raises VolumeError.
        """
        return await self._ask([wish for wish in self._lacking() if wish[1:] in self._held])

    def _lacking(self) -> list[tuple[str, str, int]]:
        """Return what is missing or old: a volume's name, and a token's audience and lifetime."""
        now = self._node.clock.now()
        wishes = {
            (wish.audience, wish.expiration_seconds): volume.name
            for volume in self.volumes()
            for wish in tokens_of(volume)
        }
        return [
            (name, *wish)
            for wish, name in wishes.items()
            if wish not in self._held or self._held[wish].renewed_at <= now
        ]

    async def _ask(self, wishes: Sequence[tuple[str, str, int]]) -> bool:
        for volume, audience, seconds in wishes:
            try:
                token = await self._issued(audience, seconds)
            except NotFound as error:
                raise NotYetError(_fetching(volume, error)) from error
            except (ApiError, UnreachableError) as error:
                raise VolumeError(_fetching(volume, error)) from error
            now = self._node.clock.now()
            left = parse_rfc3339(token.expiration_timestamp) - now
            self._held[audience, seconds] = _Held(token.token, now + left * _RENEWED_AFTER)
        return bool(wishes)

    async def _issued(self, audience: str, seconds: int) -> BoundToken:
        pod = self._pod()
        meta = pod.metadata
        account = Key(meta.namespace, pod.spec.service_account_name or "default")
        return await self._node.client.request_token(
            account, pod=(meta.name, meta.uid), audience=audience, seconds=seconds
        )


def _fetching(volume: str, error: Exception) -> str:
    return f'for volume "{volume}" : failed to fetch token: {error}'


class NotYetError(VolumeError):
    """Something that each namespace gets at its birth is not there yet."""
