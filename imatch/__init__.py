"""Register satellite images across seasons, sensors and years."""

from imatch._version import __version__

__all__ = ["__version__"]
