"""What a question gets: scores, features and outlines of the published frames."""
