"""Files, tables and reports of a stack."""
