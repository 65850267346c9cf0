"""``python -m orchestrator`` is ``mrsweep``."""

from orchestrator.cli.main import main

main()
