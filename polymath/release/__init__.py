"""What leaves a run: a model as others load it, with a card, and with where all of it came from."""
