"""The scores over HTTP: the last published frame of each region."""
