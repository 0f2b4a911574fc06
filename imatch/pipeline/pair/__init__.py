"""Registration of two images: configuration, matchers, registrars and `match`."""
