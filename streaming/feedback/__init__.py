"""What shifts say of the scores: kept beside them, never a label for the counts."""
