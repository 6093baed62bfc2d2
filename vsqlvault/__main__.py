"""``python -m vsqlvault`` is ``vsql-vault``."""

from vsqlvault.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
