"""Final counts for years: what the next model learns from."""
