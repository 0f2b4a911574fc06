"""LoFTR: its data, labels, truth, losses and trainer."""
