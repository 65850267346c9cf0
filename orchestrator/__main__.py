"""``python -m orchestrator`` is ``mrsweep``."""

from orchestrator.cli import main

main()
