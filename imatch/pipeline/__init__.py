"""Where the stages meet: files in, a registration out."""

from imatch.pipeline.certificate import Certificate, Tolerance
from imatch.pipeline.config import MatchConfig, load_config, make_config
from imatch.pipeline.match import match
from imatch.pipeline.result import Registration, TiePoints

__all__ = [
    "Certificate",
    "MatchConfig",
    "Registration",
    "TiePoints",
    "Tolerance",
    "load_config",
    "make_config",
    "match",
]
