"""The JSON document: the whole registration, for other programs and for people."""

from imatch.core.jsontext import to_json
from imatch.pipeline.document import read_registration, write_json

__all__ = ["read_registration", "to_json", "write_json"]
