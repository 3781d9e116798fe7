"""Pure: completion indexes of Jobs: sets of numbers as text, and the index of a pod."""

from collections.abc import Iterable

from podwire.kube.objects import Pod

COMPLETION_INDEX = "batch.kubernetes.io/job-completion-index"
INDEX_FAILURES = "batch.kubernetes.io/job-index-failure-count"
INDEX_IGNORED_FAILURES = "batch.kubernetes.io/job-index-ignored-failure-count"


def written(indexes: Iterable[int]) -> str:
    """Return indexes as a Job's status holds them: `1,3-5,7`; two neighbours are `3,4`."""
    runs: list[list[int]] = []
    for index in sorted(set(indexes)):
        if runs and index == runs[-1][1] + 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    return ",".join(_run(first, last) for first, last in runs)


def parsed(text: str, completions: int) -> frozenset[int]:
    """Return the indexes below *completions* that *text* holds; what cannot be read is left out."""
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if first.isdigit() and (last or first).isdigit():
            found.update(range(int(first), min(int(last or first) + 1, completions)))
    return frozenset(found)


def index_of(pod: Pod) -> int | None:
    """Return the pod's completion index, None if it has none."""
    text = pod.metadata.annotations.get(COMPLETION_INDEX, "")
    return int(text) if text.isdigit() else None


def failures_of(pod: Pod, annotation: str) -> int:
    """Return how often the pod's index had failed before it."""
    text = pod.metadata.annotations.get(annotation, "")
    return int(text) if text.isdigit() else 0


def _run(first: int, last: int) -> str:
    if last - first < 2:
        return str(first) if first == last else f"{first},{last}"
    return f"{first}-{last}"
