"""Whether the groups of a city are served alike. Groups stay in this room: no artifact, frame or store has them."""
