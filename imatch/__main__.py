"""``python -m imatch``, the same as ``imatch``."""

from imatch.cli import main

if __name__ == "__main__":
    main()
