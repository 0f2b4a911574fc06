"""The JSON document: the whole registration, for other programs and for people."""

from imatch.core.io.jsontext import to_json
from imatch.pipeline.registration.io import read_registration, write_json

__all__ = ["read_registration", "to_json", "write_json"]
