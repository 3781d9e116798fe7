"""A script for a program's standard input, as a file: nobody has to feed it.

With a pipe, a program that ends without reading (one that only lists, or that fails at once on a
busy machine) takes uvloop's end of it away under the writer's hands, which is a RuntimeError.
"""

import os
from collections.abc import Generator
from contextlib import contextmanager
from typing import BinaryIO


@contextmanager
def held(script: str) -> Generator[BinaryIO]:
    """Give *script* as a file, at its beginning, while the block runs. Raises OSError."""
    with os.fdopen(os.memfd_create("script"), "w+b") as file:
        file.write(script.encode())
        file.seek(0)
        yield file
