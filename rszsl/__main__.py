"""`python -m rszsl`, and the command `rszsl`."""

import atexit
import os
import sys
from contextlib import suppress

from rszsl.cli import main


def run() -> None:
    """Run a command as a process of its own, which ends without taking apart all that torch and torchgeo have made.

    That takes Python up to two seconds. What has to be done at the end (`atexit`) is done, and everything is written.
    """
    try:
        main()
    except SystemExit as end:
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):  # whoever reads it may have gone, as `head` does
                stream.flush()
        os._exit(end.code if isinstance(end.code, int) else 0)


if __name__ == "__main__":
    run()
