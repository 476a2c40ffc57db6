"""How fast batches come, for ours and for timm's loader alike."""

import time


def batches_per_second(batches, seconds, warm_up):
    """Returns the batches a second of an iterator, over so many seconds.

    Args:
        batches: Iterator without end.
        seconds: Float, what is measured takes at least so long.
        warm_up: Integer, the batches before it.
    """
    for _ in range(warm_up):
        next(batches)
    start, count = time.perf_counter(), 0
    while (taken := time.perf_counter() - start) < seconds:
        next(batches)
        count += 1
    return count / taken
