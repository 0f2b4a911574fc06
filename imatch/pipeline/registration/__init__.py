"""What a registration is: transform, accuracy, certificate, and its JSON document."""
