"""How a program loads its modules, which is most of its start."""

import contextlib
import gc
import os
from collections.abc import Generator


@contextlib.contextmanager
def swift_imports() -> Generator[None, None, None]:
    """Load what is imported inside the block without looking for garbage, and without authorities.

    Modules that load leave hardly any garbage: to look for it takes a tenth of the time. What is
    loaded stays, so it is not looked at later either, while clients wait.
    """
    gc.disable()
    try:
        with no_authorities():
            yield
        gc.freeze()
    finally:
        gc.enable()


@contextlib.contextmanager
def no_authorities() -> Generator[None, None, None]:
    """Keep aiohttp, while it is imported, from reading the certificates of the whole internet.

    That takes 40 ms, and nothing in a cluster talks to the internet by aiohttp.
    """
    before = os.environ.get("SSL_CERT_FILE")
    os.environ["SSL_CERT_FILE"] = os.devnull
    try:
        yield
    finally:
        del os.environ["SSL_CERT_FILE"]
        if before is not None:
            os.environ["SSL_CERT_FILE"] = before
