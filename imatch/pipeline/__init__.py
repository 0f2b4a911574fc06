"""Registration of files: pairs, scenes, batches and stacks."""
