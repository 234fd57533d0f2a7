"""The process from which Spark forks the Python workers of a stage."""
