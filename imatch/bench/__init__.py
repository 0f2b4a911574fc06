"""Benchmark: many pairs with known truth, matchers run over them, and what came of it."""
