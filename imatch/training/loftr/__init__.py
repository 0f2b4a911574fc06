"""Training of LoFTR across seasons."""
