"""Files, tables and the report of a stack."""
