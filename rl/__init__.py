"""Group relative policy optimisation on verifiable rewards."""
