"""Training of SuperPoint across seasons."""
