"""The report of a batch: summary, page, figures, and files of each pair."""
