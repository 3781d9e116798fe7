"""The images of an engine: those that it has, and those that it can pull, as the policy says."""

import signal
from typing import Any
from urllib.parse import quote

from podwire.emulator.engine.client import Engine, EngineError
from podwire.emulator.engine.signals import signal_number
from podwire.emulator.images.catalogue import Image, ImageError
from podwire.emulator.images.source import Tell
from podwire.kube.clock import Clock

Json = dict[str, Any]


class EngineImages:
    """The images of one engine. The engine pulls, with its own registries and mirrors.

    Pull secrets of pods are not sent to it: it knows the registries that it is logged in to.
    """

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    async def image(self, name: str, pull_policy: str, tell: Tell) -> Image:
        """Return what an image runs, pulled if the policy says so; raises ImageError."""
        found = await self._found(name)
        if pull_policy == "Always" or (found is None and pull_policy != "Never"):
            found = await self._pulled(name, tell, present=found is not None)
        elif found is None:
            raise ImageError(
                f'Container image "{name}" is not present with pull policy of Never',
                reason="ErrImageNeverPull",
            )
        else:
            tell("Pulled", f'Container image "{name}" already present on machine')
        return image_of(name, found)

    async def _found(self, name: str) -> Json | None:
        try:
            found: Json = await self._engine.get(f"/images/{quote(name, safe='/:@')}/json")
        except EngineError as error:
            if error.status == 404:
                return None
            raise _failure(name, error) from error
        return found

    async def _pulled(self, name: str, tell: Tell, *, present: bool) -> Json:
        tell("Pulling", f'Pulling image "{name}"')
        began = self._clock.monotonic()
        try:
            # Without a tag the engine would pull them all.
            async for step in self._engine.post_lines("/images/create", fromImage=tagged(name)):
                if "error" in step:
                    raise EngineError(500, str(step["error"]))
        except EngineError as error:
            raise _failure(name, error, present=present) from error
        found = await self._found(name)
        if found is None:
            raise ImageError(f'the engine has no image "{name}" after it has pulled it')
        seconds = self._clock.monotonic() - began
        tell(
            "Pulled",
            f'Successfully pulled image "{name}" in {seconds:.3g}s. '
            f"Image size: {found.get('Size', 0)} bytes.",
        )
        return found


def tagged(name: str) -> str:
    """Return an image reference with a tag or a digest."""
    last = name.rpartition("/")[2]
    return name if ":" in last or "@" in last else f"{name}:latest"


def image_of(name: str, found: Json) -> Image:
    """Return what an image runs, from the engine's description of it."""
    config: Json = found.get("Config") or {}
    digests: list[str] = found.get("RepoDigests") or []
    return Image(
        name,
        "already present on machine",
        entrypoint=tuple(config.get("Entrypoint") or ()),
        command=tuple(config.get("Cmd") or ()),
        environ=dict(entry.partition("=")[::2] for entry in config.get("Env") or ()),
        stop_signal=signal_number(config.get("StopSignal") or "") or signal.SIGTERM,
        directory=config.get("WorkingDir") or "/",
        # The engine looks the user's home up in the image.
        home="",
        user=config.get("User") or "",
        identity=f"docker-pullable://{digests[0]}" if digests else f"docker://{found['Id']}",
    )


def _failure(name: str, error: EngineError, *, present: bool = False) -> ImageError:
    if error.status == 400 and "invalid reference" in str(error):
        return ImageError(
            f'couldn\'t parse image name "{name}": {error}', reason="InvalidImageName"
        )
    if present:
        return ImageError(
            f"{error} (the engine has an image of that name; to use it as it is, set "
            "imagePullPolicy: IfNotPresent)"
        )
    return ImageError(str(error))
