"""Names the exit statuses of the command line."""

# Exit statuses: 1 if some image could not be read, 2 for a request that cannot
# be met, 75 if it pays to try again (after SIGTERM; sysexits.h calls it
# EX_TEMPFAIL), 130 after Ctrl-C, as shells have it.
SOME_FAILED, BAD_REQUEST, TERMINATED, INTERRUPTED = 1, 2, 75, 130
