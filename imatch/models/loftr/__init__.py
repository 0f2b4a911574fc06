"""The LoFTR network and its weights."""
