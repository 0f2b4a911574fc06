"""What every room shares: types, errors, files, progress, registries."""
