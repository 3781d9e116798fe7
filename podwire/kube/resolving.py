"""Pure: which names a pod's resolver asks for, in which order, until one has data.

The rules are glibc's (resolv/res_query.c, seen with 2.36). A name that does not exist and one
without data of the asked type both send it on to the next candidate.
"""

from __future__ import annotations

from collections.abc import Sequence


def search_walk(name: str, search: Sequence[str], ndots: int) -> tuple[str, ...]:
    """Return the absolute names that *name* becomes, in the order in which they are asked.

    A name with fewer dots than *ndots* goes through the *search* list first and is asked as it
    stands last; one with enough dots the other way round. A dot at its end stops all searching.
    A search domain ``.`` is the place in the list at which the bare name is asked.
    """
    if name.endswith("."):
        return (name,)
    bare = name + "."
    domains = tuple(domain.strip(".") for domain in search)
    searched = tuple(f"{bare}{domain}." if domain else bare for domain in domains)
    if name.count(".") >= ndots:
        return (bare, *searched)
    return searched if "" in domains else (*searched, bare)
