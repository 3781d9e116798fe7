"""Images without a registry: the catalogue's, and those that the user added to a ConfigMap."""

import shutil
from collections.abc import Mapping

from podwire.emulator import own_images
from podwire.emulator.images.catalogue import PATH, Image, ImageError, how_to_add, resolve
from podwire.emulator.images.source import Tell
from podwire.kube.informers import Informers
from podwire.kube.names import Key
from podwire.kube.objects import ConfigMap

IMAGES = Key(own_images.NAMESPACE, own_images.NAME)


class CatalogueImages:
    """Nothing is pulled, whatever the policy says: what is not there is only said otherwise."""

    def __init__(self, informers: Informers) -> None:
        self._config_maps = informers.of(ConfigMap)

    async def image(self, name: str, pull_policy: str, tell: Tell) -> Image:
        """Return what an image runs; raises ImageError."""
        try:
            found = resolve(name, self._added(), lambda program: shutil.which(program, path=PATH))
        except ImageError as error:
            if pull_policy != "Never" or error.reason != "ErrImagePull":
                raise
            raise ImageError(
                f'Container image "{name}" is not present with pull policy of Never; '
                f"{how_to_add(name)}",
                reason="ErrImageNeverPull",
            ) from error
        tell("Pulled", f'Container image "{name}" is {found.says}')
        return found

    def _added(self) -> Mapping[str, tuple[str, ...]]:
        found = self._config_maps.get(IMAGES)
        return {} if found is None else own_images.added(found.data)
