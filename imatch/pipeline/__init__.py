"""Registration of files: pairs, scenes, batches and stacks."""

from imatch.pipeline.pair.config import MatchConfig, load_config, make_config
from imatch.pipeline.pair.match import match
from imatch.pipeline.registration.certificate import Certificate, Tolerance
from imatch.pipeline.registration.result import Registration, TiePoints

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
