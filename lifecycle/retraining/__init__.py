"""A challenger made when a region needs one, day after day."""
