"""Least-squares adjustment of a network of pairwise registrations."""
