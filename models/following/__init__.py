"""What the last weeks showed, as factors on a forecast: what they are, how they are learned, what is said of them."""
