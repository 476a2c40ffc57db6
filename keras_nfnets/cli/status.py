"""Names the exit statuses of the command line.

- `SOME_FAILED`, 1: some image file could not be read, and the others were; or
  the reader of the output, such as `head`, left before its end.
- `BAD_REQUEST`, 2: the request cannot be met; `argparse` returns it as well.
- `TERMINATED`, 75: the process got SIGTERM after a checkpoint was written, and
  `--resume` goes on from there. `sysexits.h` calls it EX_TEMPFAIL.
- `INTERRUPTED`, 130: Ctrl-C, as shells have it.
"""

SOME_FAILED, BAD_REQUEST, TERMINATED, INTERRUPTED = 1, 2, 75, 130
