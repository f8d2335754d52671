"""``python -m askonce``."""

from askonce.cli import main

main()
