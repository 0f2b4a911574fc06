"""An index of chips: made, added to, searched; resumed after an interruption."""
