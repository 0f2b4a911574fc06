"""A page to look at a result: both images over each other, tie points, tables and dates."""
