"""The benchmark: image pairs with known truth, matchers run on them, reports."""
