"""The verbs that prepare data and train."""
