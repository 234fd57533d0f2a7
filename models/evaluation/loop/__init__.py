"""Whether forecasts chase their own tail: a city of equal true rates, and visits that find incidents where they go."""
