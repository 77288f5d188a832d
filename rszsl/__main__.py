"""`python -m rszsl`."""

from rszsl.cli import main

main()
