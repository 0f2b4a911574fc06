"""Training data: chips of the same ground at several dates, and procedural ground.

`prepare` cuts images into a folder of chips with a manifest; `ChipPairs` and `LandscapePairs` give
`imatch.datasets.sample.PairSample`, and `Mixture` mixes them.
"""
