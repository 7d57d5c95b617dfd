"""Training of the networks in `models`: synthetic people, losses, loops, evaluation."""
