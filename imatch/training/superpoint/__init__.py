"""SuperPoint learns what stays the same when seasons change."""
