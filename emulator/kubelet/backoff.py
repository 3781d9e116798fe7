"""Pure: whether a container is started again, and after how long."""

# The kubelet's: at once the first time, then 10 s, doubling to 300 s; forgotten after 600 s of
# life.
FIRST_BACK_OFF = 10.0
LAST_BACK_OFF = 300.0
LONG_LIFE = 600.0
# So long a container is seen to wait for ErrImagePull, before it is said to wait for the next try.
PULL_FAILED = 2.0


def restarts(policy: str, status: int) -> bool:
    """Tell whether a container that ended with *status* is to be started again."""
    return policy == "Always" or (policy == "OnFailure" and status != 0)


def before_restart(ends: int) -> float:
    """Return the seconds to wait before the start that follows the *ends*-th end in a row."""
    if ends <= 1:
        return 0.0
    return min(FIRST_BACK_OFF * 2.0 ** min(ends - 2, 10), LAST_BACK_OFF)


def before_retry(failures: int) -> float:
    """Return the seconds to wait after the *failures*-th time in a row that it could not start."""
    return min(2.0 ** min(failures - 1, 10), LAST_BACK_OFF)


def before_pull(failures: int) -> float:
    """Return the seconds to wait after an image could not be had *failures* times in a row."""
    return before_restart(failures + 1)
